//! The sums of a batch: what its events add to each name of each dimension, in each slot of time. `sums.py` is the
//! reference, also for the order in which they are given back.

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::hash::BuildHasher;

// Events with further dimensions are counted by Python: sums are found by a walk over a group's dimensions, which must
// be few.
const DIMENSIONS_MAX: usize = 64;

/// Start of the slot, and since when the horizon was as it was when the event was counted: `sums.Time`.
pub type Time = (i64, i64);

/// All events of a batch that share a name and a time.
pub struct Group {
    pub position: u8,
    name: u32,
    time: u32,
    pub cost_picousd: i128,
    pub retail_picousd: i128,
    pub events: u64,
    /// In 10⁻⁹ units by number of the dimension, each that was reported, be it with zero.
    usage: Vec<(u8, i128)>,
}

/// What one event adds. All amounts are below 2¹⁰⁴, so that 2²² of them cannot pass 2¹²⁷.
pub struct Addition<'a> {
    /// One for each shape of scopes; empty for none.
    pub names: &'a [&'a str],
    pub time: Time,
    pub cost_picousd: i128,
    pub retail_picousd: i128,
    /// By number of the dimension, as `Sums::dimension` gave it.
    pub usage: &'a [(u8, i128)],
}

/// The distinct names of one dimension, numbered by their first occurrence.
#[derive(Default)]
struct Names {
    text: Vec<Box<str>>,
    numbers: HashTable<u32>,
    /// For each name, the time it was last added in and the group of both: nearly always the next event's group too.
    latest: Vec<(u32, u32)>,
}

pub struct Sums {
    hasher: DefaultHashBuilder,
    names: Vec<Names>,
    groups: Vec<Group>,
    by_name_and_time: HashMap<(u8, u32, u32), u32>,
    times: Vec<Time>,
    time_numbers: HashMap<Time, u32>,
    latest_time: u32,
    dimensions: Vec<Box<str>>,
}

impl Sums {
    /// For events with so many names.
    pub fn new(shapes: usize) -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            names: (0..shapes).map(|_| Names::default()).collect(),
            groups: Vec::new(),
            by_name_and_time: HashMap::new(),
            times: Vec::new(),
            time_numbers: HashMap::new(),
            latest_time: 0,
            dimensions: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The same without any events.
    pub fn emptied(&self) -> Self {
        Self::new(self.names.len())
    }

    /// The number of a usage dimension in this batch; `None` when there are too many.
    #[inline]
    pub fn dimension(&mut self, dimension: &str) -> Option<u8> {
        if let Some(number) = self.dimensions.iter().position(|known| **known == *dimension) {
            return u8::try_from(number).ok();
        }
        if self.dimensions.len() >= DIMENSIONS_MAX {
            return None;
        }
        self.dimensions.push(dimension.into());
        u8::try_from(self.dimensions.len() - 1).ok()
    }

    pub fn add(&mut self, addition: &Addition) {
        let time = self.time(addition.time);
        for (position, name) in addition.names.iter().enumerate() {
            if !name.is_empty() {
                self.add_to(position, name, time, addition);
            }
        }
    }

    /// Add the amounts of an event to one further name, in its time.
    pub fn add_one(&mut self, position: usize, name: &str, addition: &Addition) {
        let time = self.time(addition.time);
        self.add_to(position, name, time, addition);
    }

    #[inline]
    fn add_to(&mut self, position: usize, name: &str, time: u32, addition: &Addition) {
        let group = self.group(position, name, time);
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.add(addition);
        }
    }

    fn time(&mut self, time: Time) -> u32 {
        if self.times.get(self.latest_time as usize) == Some(&time) {
            return self.latest_time;
        }
        let next = self.times.len() as u32;
        let number = *self.time_numbers.entry(time).or_insert(next);
        if number == next {
            self.times.push(time);
        }
        self.latest_time = number;
        number
    }

    #[inline]
    fn group(&mut self, position: usize, text: &str, time: u32) -> u32 {
        let names = &mut self.names[position];
        let hasher = &self.hasher;
        let hash = hasher.hash_one(text.as_bytes());
        let is_same = |number: &u32| names.text.get(*number as usize).is_some_and(|known| **known == *text);
        let name = match names.numbers.find(hash, is_same) {
            Some(number) => *number,
            None => {
                let number = names.text.len() as u32;
                names.text.push(text.into());
                names.latest.push((u32::MAX, 0));
                let text = &names.text;
                names.numbers.insert_unique(hash, number, |number| hasher.hash_one(text[*number as usize].as_bytes()));
                number
            }
        };
        let latest = &mut names.latest[name as usize];
        if latest.0 != time {
            let next = self.groups.len() as u32;
            let group = *self.by_name_and_time.entry((position as u8, name, time)).or_insert(next);
            if group == next {
                self.groups.push(Group::new(position as u8, name, time));
            }
            *latest = (time, group);
        }
        latest.1
    }

    /// The groups in the order in which `sums.py` gives them: by shape, first occurrence of the name, and of the time.
    pub fn in_order(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|group| (group.position, group.name, group.time));
        groups
    }

    pub fn name(&self, group: &Group) -> &str {
        &self.names[group.position as usize].text[group.name as usize]
    }

    /// When it was spent, and counted.
    pub fn time_of(&self, group: &Group) -> Time {
        self.times[group.time as usize]
    }

    /// The usage of a group, in the order in which the batch first reported the dimensions.
    pub fn usage(&self, group: &Group) -> Vec<(&str, i128)> {
        let mut usage = group.usage.clone();
        usage.sort_unstable_by_key(|(number, _)| *number);
        usage.into_iter().map(|(number, nano)| (&*self.dimensions[number as usize], nano)).collect()
    }
}

impl Group {
    fn new(position: u8, name: u32, time: u32) -> Self {
        Self { position, name, time, cost_picousd: 0, retail_picousd: 0, events: 0, usage: Vec::new() }
    }

    #[inline]
    fn add(&mut self, addition: &Addition) {
        self.cost_picousd += addition.cost_picousd;
        self.retail_picousd += addition.retail_picousd;
        self.events += 1;
        for &(dimension, nano) in addition.usage {
            match self.usage.iter_mut().find(|(known, _)| *known == dimension) {
                Some((_, sum)) => *sum += nano,
                None => self.usage.push((dimension, nano)),
            }
        }
    }
}
