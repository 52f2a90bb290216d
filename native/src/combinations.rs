//! The scopes of several names that an event adds to: `sums.Combinations` is the reference.

use crate::dimensions::{Dimensions, Source};
use crate::event::Event;
use crate::sums::{Addition, Sums};

/// The position of a sum is one byte.
const POSITIONS_MAX: usize = 256;

/// Shapes of scopes with several names, in the order that Python gives them.
#[derive(Default)]
pub struct Combinations {
    shapes: Vec<Vec<Part>>,
    /// Where the names of all shapes are, each once.
    sources: Vec<Source>,
    /// The position of the first shape's sums.
    first: usize,
    scope: String,
}

/// A name of a shape, with what stands before it in the scope: `user/` or `+model/`.
struct Part {
    before: Box<str>,
    source: Source,
}

impl Combinations {
    /// `None` when a dimension is not known here, or there are too many shapes. Their sums follow those of `dimensions`.
    pub fn of(shapes: &[Vec<String>], dimensions: &Dimensions) -> Option<Self> {
        let first = dimensions.positions();
        let mut found = Self { first, ..Self::default() };
        let mut named: Vec<&str> = Vec::new();
        for shape in shapes {
            let mut parts = Vec::with_capacity(shape.len());
            for (place, dimension) in shape.iter().enumerate() {
                let source = Source::of(dimension)?;
                let before = format!("{}{dimension}/", if place == 0 { "" } else { "+" }).into();
                parts.push(Part { before, source });
                if !named.contains(&dimension.as_str()) {
                    named.push(dimension);
                    found.sources.push(source);
                }
            }
            found.shapes.push(parts);
        }
        (first + shapes.len() <= POSITIONS_MAX).then_some(found)
    }

    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Whether no name of the event can need an escape, which only the reference knows: a dimension may follow a plus in
    /// it, or the escape of a plus.
    #[inline]
    pub fn are_plain(&self, event: &Event) -> bool {
        self.sources.iter().all(|source| {
            let name = source.name(event).as_bytes();
            !name.contains(&b'/') || !name.iter().any(|byte| matches!(byte, b'+' | b'%'))
        })
    }

    /// Add an event to the scopes of which it has all names.
    #[inline(never)]
    pub fn add(&mut self, event: &Event, addition: &Addition, sums: &mut Sums) {
        for (number, shape) in self.shapes.iter().enumerate() {
            self.scope.clear();
            let whole = shape.iter().all(|part| {
                let name = part.source.name(event);
                self.scope.push_str(&part.before);
                self.scope.push_str(name);
                !name.is_empty()
            });
            if whole {
                sums.add_one(self.first + number, &self.scope, addition);
            }
        }
    }
}
