//! What a client sends before the pack: commands, capabilities, push options.
//!
//! Protocol: <https://git-scm.com/docs/pack-protocol#_reference_update_request_and_packfile_transfer>.

use std::io::Read;

use gix_hash::ObjectId;
use gix_packetline::{PacketLineRef, decode};

/// Most refs one push may change.
pub(crate) const MAX_COMMANDS: usize = 1000;
/// Most push options.
const MAX_OPTIONS: usize = 32;
/// Longest line that is not a command with capabilities.
const MAX_LINE: usize = 4096;

/// Why the request is no push.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The connection ended or failed.
    #[error("the push was cut off before its commands were complete: {0}")]
    Io(#[from] std::io::Error),
    /// A packet line that is none.
    #[error("the push is not in git's protocol: {0}")]
    Packet(String),
    /// A command that is none.
    #[error("the push has a command that git does not know: {0:?}")]
    Command(String),
    /// More than [`MAX_COMMANDS`].
    #[error(
        "the push changes over {MAX_COMMANDS} refs at once; \
         push fewer: git push keg main, then tags in groups"
    )]
    TooMany,
    /// Pushes from a shallow clone.
    #[error(
        "this is a shallow clone, whose history is cut off; \
         complete it with git fetch --unshallow, then push again"
    )]
    Shallow,
    /// Signed pushes.
    #[error("signed pushes are not supported; push without --signed")]
    Certificate,
    /// Another hash than SHA-1.
    #[error("repositories with {0} are not supported, only sha1; push from one made by git init")]
    ObjectFormat(String),
    /// A push option that means nothing.
    #[error("unknown push option {0:?}; known are: -o force, -o no-wait")]
    Option(String),
}

/// One ref to change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Command {
    /// The ref.
    pub(crate) name: String,
    /// What the client saw there; null: nothing.
    pub(crate) old: ObjectId,
    /// What it shall be; null: deleted.
    pub(crate) new: ObjectId,
}

/// The start of a push.
#[derive(Default, Debug)]
pub(crate) struct Request {
    /// What to change.
    pub(crate) commands: Vec<Command>,
    /// The client wants the outcome of each.
    pub(crate) report: bool,
    /// The client takes messages besides the report.
    pub(crate) side_band: bool,
    /// All commands or none.
    pub(crate) atomic: bool,
    /// `-o force`: main may move to a commit that does not follow it.
    pub(crate) force: bool,
    /// `-o no-wait`: the outcome of the deploy is not waited for.
    pub(crate) no_wait: bool,
}

impl Request {
    /// Reads commands, capabilities and options; the pack is next in `input`.
    ///
    /// # Errors
    /// It is no push, or one that is not supported. What is known of the client by then is in
    /// `self`, for the answer.
    pub(crate) fn read(&mut self, input: &mut dyn Read) -> Result<(), RequestError> {
        let mut options = false;
        let mut refused = Ok(());
        while let Some(line) = packet(input)? {
            if line.starts_with(b"shallow ") {
                // The capabilities, which the answer needs, come after these lines.
                refused = Err(RequestError::Shallow);
                continue;
            }
            let mut parts = line.splitn(2, |&byte| byte == 0);
            let command = std::str::from_utf8(parts.next().unwrap_or_default());
            if let Some(capabilities) = parts.next() {
                options = self.capabilities(&String::from_utf8_lossy(capabilities))?;
            }
            let bad = || RequestError::Command(String::from_utf8_lossy(&line).into_owned());
            self.command(command.map_err(|_| bad())?.trim_end_matches('\n'))?;
        }
        refused?;
        let mut count = 0;
        while options && let Some(line) = packet(input)? {
            let option = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            count += 1;
            match option.as_str() {
                "force" => self.force = true,
                "no-wait" => self.no_wait = true,
                _ => return Err(RequestError::Option(option.chars().take(100).collect())),
            }
            if count > MAX_OPTIONS {
                return Err(RequestError::TooMany);
            }
        }
        Ok(())
    }

    /// Whether any command needs a pack.
    pub(crate) fn wants_pack(&self) -> bool {
        self.commands.iter().any(|command| !command.new.is_null())
    }

    /// Notes what the client can do; whether push options follow.
    fn capabilities(&mut self, text: &str) -> Result<bool, RequestError> {
        let mut options = false;
        for word in text.split_ascii_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("report-status" | "report-status-v2", _) => self.report = true,
                ("side-band-64k", _) => self.side_band = true,
                ("atomic", _) => self.atomic = true,
                ("push-options", _) => options = true,
                ("object-format", format) if format != "sha1" => {
                    return Err(RequestError::ObjectFormat(format.chars().take(20).collect()));
                }
                _ => {}
            }
        }
        Ok(options)
    }

    /// Notes one command.
    fn command(&mut self, line: &str) -> Result<(), RequestError> {
        if line.starts_with("push-cert") {
            return Err(RequestError::Certificate);
        }
        if self.commands.len() == MAX_COMMANDS {
            return Err(RequestError::TooMany);
        }
        let bad = || RequestError::Command(line.chars().take(100).collect());
        let mut words = line.splitn(3, ' ');
        let mut id = || ObjectId::from_hex(words.next()?.as_bytes()).ok();
        let (old, new) = (id().ok_or_else(bad)?, id().ok_or_else(bad)?);
        let name = words.next().filter(|name| name.len() <= MAX_LINE).ok_or_else(bad)?.to_owned();
        self.commands.push(Command { name, old, new });
        Ok(())
    }
}

/// The next packet; `None`: a flush, or the end where a packet may begin.
fn packet(input: &mut dyn Read) -> Result<Option<Vec<u8>>, RequestError> {
    let mut prefix = [0; 4];
    if input.read(&mut prefix[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut prefix[1..])?;
    let wanted = decode::hex_prefix(&prefix).map_err(|e| RequestError::Packet(e.to_string()))?;
    match wanted {
        decode::PacketLineOrWantedSize::Line(PacketLineRef::Flush) => Ok(None),
        decode::PacketLineOrWantedSize::Line(_) => {
            Err(RequestError::Packet("a delimiter where a command should be".to_owned()))
        }
        decode::PacketLineOrWantedSize::Wanted(size) => {
            let mut line = vec![0; usize::from(size)];
            input.read_exact(&mut line)?;
            Ok(Some(line))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const Z: &str = "0000000000000000000000000000000000000000";

    fn read(lines: &[&str]) -> (Request, Result<(), String>) {
        let mut bytes = Vec::new();
        for line in lines {
            match *line {
                "" => bytes.extend_from_slice(b"0000"),
                line => bytes.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes()),
            }
        }
        let mut request = Request::default();
        let result = request.read(&mut bytes.as_slice()).map_err(|error| error.to_string());
        (request, result)
    }

    #[test]
    fn commands_capabilities_and_options() {
        let first =
            format!("{Z} {A} refs/heads/main\0 report-status-v2 side-band-64k push-options");
        let (request, result) = read(&[&first, &format!("{A} {Z} refs/tags/x\n"), "", "force", ""]);
        assert_eq!(result, Ok(()));
        assert!(request.report && request.side_band && request.force && !request.atomic);
        let names: Vec<_> = request.commands.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["refs/heads/main", "refs/tags/x"]);
        assert!(request.commands[1].new.is_null() && request.wants_pack());
    }

    #[test]
    fn what_is_no_push_is_refused_in_words() {
        let caps = format!("{Z} {A} refs/heads/main\0 object-format=sha256");
        let with = |rest: &str| format!("{Z} {A} refs/heads/main\0 push-options {rest}");
        for (lines, want) in [
            (vec![caps.as_str(), ""], "sha256"),
            (vec!["shallow 1111", ""], "--unshallow"),
            (vec!["push-cert\0x"], "--signed"),
            (vec!["hello"], "does not know"),
            (vec![with("").as_str(), "", "colour=red", ""], "colour=red"),
        ] {
            let (_, result) = read(&lines);
            assert!(result.as_ref().is_err_and(|text| text.contains(want)), "{lines:?} {result:?}");
        }
        assert!(Request::default().read(&mut &b"00"[..]).is_err());
        assert!(Request::default().read(&mut &b"zzzz"[..]).is_err());
        let many = format!("{A} {Z} refs/tags/x");
        let lines = vec![many.as_str(); MAX_COMMANDS + 1];
        assert!(read(&lines).1.is_err_and(|text| text.contains("1000 refs")));
        assert!(read(&[""]).0.commands.is_empty());
    }
}
