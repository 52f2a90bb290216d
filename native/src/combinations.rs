//! The scopes of several names that an event adds to: `sums.Combinations` is the reference.

use hashbrown::HashSet;

use crate::dimensions::{Dimensions, Source};
use crate::event::Event;
use crate::sums::{Addition, Sums};

/// The position of a sum is one byte.
const POSITIONS_MAX: usize = 256;

/// Shapes of scopes with several names, in the order that Python gives them, and which scopes of them count.
#[derive(Default)]
pub struct Combinations {
    shapes: Vec<Shape>,
    /// Exact ones, and those with stars as names.
    scopes: HashSet<String>,
    /// Where the names of all shapes are, each once.
    sources: Vec<Source>,
    /// The position of the first shape's sums.
    first: usize,
    scope: String,
}

struct Shape {
    parts: Vec<Part>,
    /// Where its scopes have stars: bit i is for name i.
    stars: Vec<u8>,
}

/// A name of a shape, with what stands before it in the scope: `user/` or `+model/`.
struct Part {
    before: Box<str>,
    source: Source,
}

impl Combinations {
    /// `None` when a dimension is not known here, or there are too many shapes. Their sums follow those of `dimensions`.
    pub fn of(shapes: Vec<(Vec<String>, Vec<u8>)>, scopes: Vec<String>, dimensions: &Dimensions) -> Option<Self> {
        let first = dimensions.positions();
        let mut found = Self { first, scopes: scopes.into_iter().collect(), ..Self::default() };
        let mut named: Vec<String> = Vec::new();
        for (shape, stars) in shapes {
            let mut parts = Vec::with_capacity(shape.len());
            for (place, dimension) in shape.into_iter().enumerate() {
                let source = Source::of(&dimension)?;
                let before = format!("{}{dimension}/", if place == 0 { "" } else { "+" }).into();
                parts.push(Part { before, source });
                if !named.contains(&dimension) {
                    named.push(dimension);
                    found.sources.push(source);
                }
            }
            found.shapes.push(Shape { parts, stars });
        }
        (first + found.shapes.len() <= POSITIONS_MAX).then_some(found)
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

    /// Add an event to the scopes of which it has all names, and that count.
    #[inline(never)]
    pub fn add(&mut self, event: &Event, addition: &Addition, sums: &mut Sums) {
        let scope = &mut self.scope;
        for (number, shape) in self.shapes.iter().enumerate() {
            if shape.parts.iter().any(|part| part.source.name(event).is_empty()) {
                continue;
            }
            let counts = shape.stars.iter().any(|stars| {
                shape.write(scope, event, *stars);
                self.scopes.contains(scope.as_str())
            });
            if counts {
                shape.write(scope, event, 0);
                sums.add_one(self.first + number, scope, addition);
            }
        }
    }
}

impl Shape {
    fn write(&self, scope: &mut String, event: &Event, stars: u8) {
        scope.clear();
        for (place, part) in self.parts.iter().enumerate() {
            scope.push_str(&part.before);
            scope.push_str(if stars >> place & 1 == 1 { "*" } else { part.source.name(event) });
        }
    }
}
