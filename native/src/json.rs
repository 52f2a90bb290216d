//! The JSON of ordinary events: text without escapes, whole numbers, no nulls but where the caller allows them.
//!
//! `None` means "not ordinary" throughout: the caller hands the record to the reference, which finds out what it is.

/// Reads one value from front to back. Nothing recurses: callers know how deep an event is.
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Looks at all bytes at once: escapes, control characters other than white space between tokens, and text that is
    /// not UTF-8 are not ordinary, wherever they stand.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut found = 0_u8;
        // Written without branches, so that the compiler makes it 16 bytes at a time.
        for &byte in bytes {
            found |= u8::from(byte == b'\\') | u8::from(byte == 0x7f);
            found |= u8::from(byte >= 0x80) << 1 | u8::from(byte < 0x20) << 2;
        }
        if found & 1 != 0 || (found & 2 != 0 && !is_plain_utf8(bytes)) || (found & 4 != 0 && !is_spaced(bytes)) {
            return None;
        }
        Some(Self { bytes, at: 0 })
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no white space, which stays to be read.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    /// Read exactly this punctuation mark.
    #[inline]
    pub fn mark(&mut self, mark: u8) -> Option<()> {
        (self.peek()? == mark).then(|| self.at += 1)
    }

    /// Whether another member of an object follows; reads the comma, or the brace that ends the object.
    #[inline]
    pub fn more(&mut self) -> Option<bool> {
        let mark = self.peek()?;
        self.at += 1;
        match mark {
            b',' => Some(true),
            b'}' => Some(false),
            _ => None,
        }
    }

    /// Whether an object that begins here has members; reads its opening brace, and the closing one when it has none.
    #[inline]
    pub fn object(&mut self) -> Option<bool> {
        self.mark(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(false);
        }
        Some(true)
    }

    /// A string's text. There are no escapes, so it ends at the next quote.
    #[inline]
    pub fn text(&mut self) -> Option<&'a str> {
        self.mark(b'"')?;
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|&byte| byte == b'"' || byte < 0x20)?;
        if *rest.get(length)? != b'"' {
            return None;
        }
        self.at += length + 1;
        std::str::from_utf8(rest.get(..length)?).ok()
    }

    /// The name of a member and the colon after it.
    #[inline]
    pub fn name(&mut self) -> Option<&'a str> {
        let name = self.text()?;
        self.mark(b':')?;
        Some(name)
    }

    /// A whole number of at most 18 digits, without sign, point, exponent or leading zero.
    #[inline]
    pub fn whole(&mut self) -> Option<u64> {
        self.space();
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let digits = rest.get(..length)?;
        if length == 0 || length > 18 || (length > 1 && digits.first() == Some(&b'0')) {
            return None;
        }
        if let Some(b'.' | b'e' | b'E') = rest.get(length) {
            return None;
        }
        self.at += length;
        Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    }

    /// Read this word (`true`, `false`, `null`). What follows it must be a mark, which the caller reads.
    #[inline]
    pub fn word(&mut self, word: &[u8]) -> Option<()> {
        self.space();
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    /// Whether nothing but white space is left.
    pub fn is_at_end(&mut self) -> bool {
        self.space();
        self.at == self.bytes.len()
    }
}

/// UTF-8 without the control characters U+0080 to U+009F, which are written C2 80 to C2 9F.
fn is_plain_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && !bytes.windows(2).any(|pair| matches!(pair, [0xc2, 0x80..=0x9f]))
}

/// Whether the control characters are white space; those within strings are found when the string is read.
fn is_spaced(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte >= 0x20 || matches!(byte, b'\n' | b'\r' | b'\t'))
}
