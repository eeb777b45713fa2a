//! A fuzzer's bytes as choices: a few at the front decide, the rest is what a parser is given.

/// What is left of an input. Where nothing is, every choice is 0.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Up to `bytes_max` bytes, as one byte in front of them says.
    pub(crate) fn piece(&mut self, bytes_max: usize) -> &'a [u8] {
        let length = usize::from(self.byte()).min(bytes_max).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        piece
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `bytes` in pieces: the whole, cut at one place, or byte by byte, as `choice` says.
pub(crate) fn pieces(bytes: &[u8], choice: u8) -> Vec<&[u8]> {
    match choice {
        255 => bytes.chunks(1).collect(),
        // Places near the front and near the end are all reached; in a long input the others are sampled.
        cut if bytes.len() > 250 && cut & 1 == 1 => {
            let (front, back) = bytes.split_at(bytes.len() * usize::from(cut) / 255);
            vec![front, back]
        }
        cut => {
            let (front, back) = bytes.split_at(bytes.len().min(usize::from(cut)));
            vec![front, back]
        }
    }
}
