//! A build's output for somebody else's terminal: text without control sequences.

/// Removes escape sequences and control characters other than tab and line ends, also where they
/// are cut by the pieces in which the text comes.
#[derive(Default)]
pub(crate) struct Plain {
    state: State,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC `[`: until a letter or one of its like.
    Control,
    /// After ESC `]`: until BEL or another ESC.
    Command,
}

impl Plain {
    /// The next piece of the text.
    pub(crate) fn filter(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len());
        for &byte in piece {
            self.state = match (self.state, byte) {
                (_, 0x1b) => State::Escape,
                (State::Escape, b'[') => State::Control,
                (State::Escape, b']') => State::Command,
                (State::Control, 0x40..=0x7e) | (State::Escape, _) => State::Text,
                (State::Command, 0x07 | b'\n') => State::Text,
                (State::Control | State::Command, _) => self.state,
                (State::Text, _) => {
                    if byte >= 0x20 && byte != 0x7f || matches!(byte, b'\t' | b'\n' | b'\r') {
                        out.push(byte);
                    }
                    State::Text
                }
            };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Plain;

    #[test]
    fn escapes_are_removed_wherever_they_are_cut() {
        let text = b"a\x1b[1;31mred\x1b[0m\tb\x1b]0;title\x07c\x08\x7f\x1b(d\r\n\xc3\xa9";
        for cut in 0..=text.len() {
            let mut plain = Plain::default();
            let (head, tail) = text.split_at(cut);
            let got = [plain.filter(head), plain.filter(tail)].concat();
            assert_eq!(String::from_utf8_lossy(&got), "ared\tbcd\r\n\u{e9}", "{cut}");
        }
    }
}
