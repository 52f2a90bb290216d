//! The dimensions of spend in the order that Python gives them, and where an event has their names.

use crate::event::{Event, place_of_name};

/// More shapes of scopes than this are refused, so that an event's names need no memory of their own.
pub const POSITIONS_MAX: usize = 16;

/// Where an event has the name of a dimension.
#[derive(Clone, Copy)]
pub enum Source {
    Subject,
    Name(usize),
}

impl Source {
    /// `None` when an event has no field of such a name.
    pub fn of(dimension: &str) -> Option<Self> {
        Some(if dimension == "user" { Self::Subject } else { Self::Name(place_of_name(dimension)?) })
    }

    #[inline]
    pub fn name<'a>(self, event: &Event<'a>) -> &'a str {
        match self {
            Self::Subject => event.subject,
            Self::Name(place) => event.names[place],
        }
    }
}

pub struct Dimensions {
    sources: Vec<Source>,
    /// What stands before a name in a priced record, `,"org":`, and its place in `Event::names`. The user has a field
    /// of its own there.
    fields: Vec<(Box<[u8]>, usize)>,
    everything: Box<str>,
}

impl Dimensions {
    /// `None` when there are too many, or an event has no field of such a name. `everything` is the scope that every
    /// event adds to.
    pub fn of(dimensions: &[String], everything: String) -> Option<Self> {
        let mut sources = Vec::with_capacity(dimensions.len());
        let mut fields = Vec::with_capacity(dimensions.len());
        for dimension in dimensions {
            let source = Source::of(dimension)?;
            sources.push(source);
            if let Source::Name(place) = source {
                fields.push((format!(",\"{dimension}\":").into_bytes().into(), place));
            }
        }
        (sources.len() < POSITIONS_MAX).then(|| Self { sources, fields, everything: everything.into() })
    }

    /// How many names an event has: one for each dimension, and last that of everything.
    pub fn positions(&self) -> usize {
        self.sources.len() + 1
    }

    /// The names of an event, as `sums.names_of` gives them.
    #[inline]
    pub fn names<'a, 'b>(&'a self, event: &Event<'a>, into: &'b mut [&'a str; POSITIONS_MAX]) -> &'b [&'a str] {
        for (name, source) in into.iter_mut().zip(&self.sources) {
            *name = source.name(event);
        }
        into[self.sources.len()] = &self.everything;
        &into[..=self.sources.len()]
    }

    /// The fields of a priced record, each with its name, in their order.
    #[inline]
    pub fn fields<'a>(&'a self, event: &Event<'a>) -> impl Iterator<Item = (&'a [u8], &'a str)> {
        self.fields.iter().map(|(before, place)| (&**before, event.names[*place]))
    }
}
