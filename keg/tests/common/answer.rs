//! A Keg in this process, as the other side of a pull or a push.

use keg::{
    Keg,
    sync::{self, Body, SyncError, Verb},
};

/// What was asked, what was answered, and whether it was served; where not, the answer says so, too.
pub type Answered = (Vec<u8>, Vec<u8>, Result<(), SyncError>);

/// Asks a Keg.
pub fn answer(keg: &Keg, verb: Verb, request: Body<'_>) -> std::io::Result<Answered> {
    let mut asked = Vec::new();
    match request {
        Body::Bytes(bytes) => asked = bytes,
        Body::Stream(stream) => drop(stream.read_to_end(&mut asked)?),
    }
    let mut answer = Vec::new();
    let served = sync::serve(keg, verb, &mut asked.as_slice(), &mut answer);
    Ok((asked, answer, served))
}
