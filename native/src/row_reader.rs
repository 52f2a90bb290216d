//! Reads the state rows of scopes.

pub const NANO: i128 = 1_000_000_000;

/// As much of a sum as limits measure.
pub struct Sum<'a> {
    pub cost_picousd: i128,
    pub events_nano: i128,
    pub usage: Vec<(&'a [u8], i128)>,
}

/// What a limit measures.
pub enum Unit {
    Usd,
    Events,
    Usage(Box<[u8]>),
}

impl Unit {
    pub fn of(name: String) -> Self {
        match name.as_str() {
            "usd" => Self::Usd,
            "events" => Self::Events,
            _ => Self::Usage(name.into_bytes().into()),
        }
    }

    pub fn measure(&self, sum: &Sum) -> i128 {
        match self {
            Self::Usd => sum.cost_picousd,
            Self::Events => sum.events_nano,
            Self::Usage(name) => sum.usage.iter().find(|(known, _)| *known == &**name).map_or(0, |(_, nano)| *nano),
        }
    }
}

/// Reads the JSON that a row is written in: no white space, no escapes.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub fn mark(&mut self, mark: u8) -> Option<()> {
        (self.peek()? == mark).then(|| self.at += 1)
    }

    pub fn whole(&mut self) -> Option<i128> {
        let is_negative = self.mark(b'-').is_some();
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        if length == 0 || length > 37 {
            return None;
        }
        let digits = rest.get(..length)?;
        // 18 digits fit into 64 bits, in which sums are faster.
        let value = if length <= 18 {
            i128::from(digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0')))
        } else {
            digits.iter().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'))
        };
        self.at += length;
        Some(if is_negative { -value } else { value })
    }

    pub fn text(&mut self) -> Option<&'a [u8]> {
        self.mark(b'"')?;
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if *rest.get(length)? != b'"' {
            return None;
        }
        self.at += length + 1;
        rest.get(..length)
    }

    pub fn sum(&mut self) -> Option<Sum<'a>> {
        self.mark(b'[')?;
        let cost_picousd = self.whole()?;
        self.mark(b',')?;
        self.whole()?;
        self.mark(b',')?;
        let events_nano = self.whole()?.checked_mul(NANO)?;
        self.mark(b',')?;
        self.mark(b'{')?;
        let mut usage = Vec::new();
        while self.peek()? != b'}' {
            if !usage.is_empty() {
                self.mark(b',')?;
            }
            let name = self.text()?;
            self.mark(b':')?;
            usage.push((name, self.whole()?));
        }
        self.mark(b'}')?;
        self.mark(b']')?;
        Some(Sum { cost_picousd, events_nano, usage })
    }
}
