//! Hand-made wheels, good and hostile, for tests.

use sha2::{Digest, Sha256};

use super::record;

/// A file of a wheel.
#[derive(Clone)]
pub struct Member {
    /// Its name, any bytes.
    pub name: Vec<u8>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Unix mode with the file's type.
    pub mode: u32,
    /// Unpacked size to declare, if another than the true one.
    pub declared: Option<u32>,
}

/// A plain file.
pub fn member(name: &str, text: &str) -> Member {
    Member { name: name.into(), bytes: text.into(), mode: 0o100_644, declared: None }
}

/// A wheel in the making.
#[derive(Clone)]
pub struct WheelMaker {
    /// Project and version as in file names: `demo-1.0`.
    pub stem: String,
    /// All but the files below and `RECORD`.
    pub members: Vec<Member>,
    /// Further lines of `METADATA`.
    pub metadata: String,
    /// The text of `entry_points.txt`.
    pub entry_points: Option<String>,
    /// Instead of a true `RECORD`.
    pub record: Option<String>,
    /// `Wheel-Version`.
    pub format: String,
}

impl WheelMaker {
    /// A wheel with one module.
    pub fn new(project: &str, version: &str) -> Self {
        Self {
            stem: format!("{}-{version}", project.replace('-', "_")),
            members: vec![member(&format!("{project}/__init__.py"), "x = 1\n")],
            metadata: String::new(),
            entry_points: None,
            record: None,
            format: "1.0".into(),
        }
    }

    /// Its file name.
    pub fn file(&self) -> String {
        format!("{}-py3-none-any.whl", self.stem)
    }

    /// The text of its `METADATA`.
    pub fn metadata_text(&self) -> String {
        let (name, version) = self.stem.split_once('-').expect("a stem has a version");
        format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{}", self.metadata)
    }

    /// Its bytes.
    pub fn build(&self) -> Vec<u8> {
        let info = format!("{}.dist-info", self.stem);
        let mut members = self.members.clone();
        members.push(member(&format!("{info}/METADATA"), &self.metadata_text()));
        let wheel = format!("Wheel-Version: {}\nTag: py3-none-any\n", self.format);
        members.push(member(&format!("{info}/WHEEL"), &wheel));
        if let Some(text) = &self.entry_points {
            members.push(member(&format!("{info}/entry_points.txt"), text));
        }
        let mut rows = String::new();
        for file in &members {
            let digest = record::digest_text(&Sha256::digest(&file.bytes));
            let name = String::from_utf8_lossy(&file.name);
            record::write_row(&mut rows, &name, &digest, file.bytes.len() as u64);
        }
        record::write_row(&mut rows, &format!("{info}/RECORD"), "", 0);
        let rows = self.record.clone().unwrap_or(rows);
        members.push(member(&format!("{info}/RECORD"), &rows));
        zip(&members)
    }
}

/// A zip file of stored members, written byte by byte so that it can break every rule.
pub fn zip(members: &[Member]) -> Vec<u8> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for file in members {
        let at = out.len() as u32;
        let size = file.bytes.len() as u32;
        let declared = file.declared.unwrap_or(size);
        // Version, UTF-8 names, stored; 2020-01-01 00:00:00.
        let mut common: Vec<u8> = vec![20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0x50];
        common.extend(crc32(&file.bytes).to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(declared.to_le_bytes());
        common.extend((file.name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(&file.name);
        out.extend(&file.bytes);
        central.extend(b"PK\x01\x02\x14\x03");
        central.extend(&common);
        central.extend([0; 6]);
        central.extend((file.mode << 16).to_le_bytes());
        central.extend(at.to_le_bytes());
        central.extend(&file.name);
    }
    let (at, size) = (out.len() as u32, central.len() as u32);
    let count = (members.len() as u16).to_le_bytes();
    out.extend(&central);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count);
    out.extend(count);
    out.extend(size.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
