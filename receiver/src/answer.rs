//! What the client is told: messages while it waits, and the outcome of each command.

use std::io::Write;

use gix_packetline::{Channel, blocking_io::encode};

/// Most bytes of one message: a packet holds 65515 besides the band.
const MAX_MESSAGE: usize = 8192;
/// Longest reason in a report.
const MAX_REASON: usize = 900;

/// The way to the client. When it is gone, what is said is dropped and work goes on.
pub(crate) struct Answer<'a> {
    out: &'a mut dyn Write,
    /// The client takes messages.
    pub(crate) side_band: bool,
    /// The client asked for the report.
    pub(crate) report: bool,
    gone: bool,
}

impl<'a> Answer<'a> {
    /// An answer; what the client takes is learnt from its request.
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, side_band: false, report: false, gone: false }
    }

    /// Says a line.
    pub(crate) fn say(&mut self, line: &str) {
        self.text(format!("{line}\n").as_bytes());
    }

    /// Passes on text that has its own line ends.
    pub(crate) fn text(&mut self, text: &[u8]) {
        for piece in text.chunks(MAX_MESSAGE) {
            self.band(Channel::Progress, piece);
        }
        self.flush();
    }

    /// Shows that the connection is alive, in a way that clients do not show.
    pub(crate) fn keep_alive(&mut self) {
        if self.side_band {
            self.write(b"0005\x01");
            self.flush();
        }
    }

    /// Sends the report and ends the answer. `unpacked` is the fate of the pack; then follow the
    /// commands' names and, if they failed, why.
    pub(crate) fn finish(
        mut self,
        unpacked: Result<(), String>,
        outcomes: &[(String, Result<(), String>)],
    ) {
        if self.report {
            let mut report = Vec::new();
            line(
                &mut report,
                &match unpacked {
                    Ok(()) => "unpack ok".to_owned(),
                    Err(reason) => format!("unpack {}", one_line(&reason)),
                },
            );
            for (name, outcome) in outcomes {
                line(
                    &mut report,
                    &match outcome {
                        Ok(()) => format!("ok {name}"),
                        Err(reason) => format!("ng {name} {}", one_line(reason)),
                    },
                );
            }
            report.extend_from_slice(b"0000");
            if self.side_band {
                for piece in report.chunks(MAX_MESSAGE) {
                    self.band(Channel::Data, piece);
                }
            } else {
                self.write(&report);
            }
        }
        if self.side_band {
            self.write(b"0000");
        }
        self.flush();
    }

    fn band(&mut self, channel: Channel, bytes: &[u8]) {
        if self.side_band && !self.gone && !bytes.is_empty() {
            self.gone = encode::band_to_write(channel, bytes, &mut *self.out).is_err();
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if !self.gone {
            self.gone = self.out.write_all(bytes).is_err();
        }
    }

    fn flush(&mut self) {
        if !self.gone {
            self.gone = self.out.flush().is_err();
        }
    }
}

/// Appends a packet with one line of the report.
fn line(report: &mut Vec<u8>, text: &str) {
    // Writing to memory fails only for more bytes than a packet holds: reasons and names are cut.
    let _ = encode::text_to_write(text.as_bytes(), report);
}

/// A reason as the report takes it.
fn one_line(reason: &str) -> String {
    reason.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(side_band: bool, report: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut answer = Answer::new(&mut out);
        answer.side_band = side_band;
        answer.report = report;
        answer.say("hello");
        answer.keep_alive();
        let outcomes = [("refs/heads/main".to_owned(), Err("a\nb".to_owned()))];
        answer.finish(Ok(()), &outcomes);
        out
    }

    #[test]
    fn answers_fit_what_the_client_takes() {
        let report = b"000eunpack ok\n001bng refs/heads/main a b\n0000";
        assert_eq!(answer(false, true), report);
        assert_eq!(answer(false, false), b"");
        let banded = [b"000b\x02hello\n0005\x010032\x01".as_slice(), report, b"0000"].concat();
        assert_eq!(String::from_utf8_lossy(&answer(true, true)), String::from_utf8_lossy(&banded));
    }
}
