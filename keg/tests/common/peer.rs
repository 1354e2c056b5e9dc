//! Another Keg, as a source of what is damaged.

use std::io::Read;

use keg::{
    Keg, Kid,
    gc::{Source, SourceError},
    object::Kind,
};

pub struct Peer(pub Keg);

impl Source for Peer {
    fn name(&self) -> String {
        "peer".to_owned()
    }

    fn fetch(&self, kid: &Kid) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        match self.0.objects().kind(kid)? {
            None => Ok(None),
            Some(Kind::Blob) => Ok(Some(Box::new(self.0.objects().open_blob(kid)?))),
            Some(_) => {
                let bytes = self.0.objects().get(kid)?.bytes;
                Ok(Some(Box::new(std::io::Cursor::new(bytes))))
            }
        }
    }
}
