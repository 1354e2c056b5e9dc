//! One run of packing: into packs, read back, and only then out of where things were.

use std::{collections::HashSet, path::Path, sync::Arc};

use super::{
    encode::{self, Encoder, Packed},
    generations::join_all,
    remove::Remover,
    report::{PackOptions, Phase, Progress, Report},
    select::{Item, Sort},
    small,
    sources::Sources,
};
use crate::{
    Kid,
    store::{
        FileStore, Objects, StoreError,
        packs::{self, PackSet},
        pending::Pending,
    },
};

/// One run of packing.
pub(super) struct Run<'a> {
    home: &'a Path,
    options: &'a PackOptions,
    objects: &'a dyn Objects,
    set: Arc<PackSet>,
    pending: Pending,
    /// What this run packs that is in the log, and what of it is in packs, whole.
    of_log: HashSet<Kid>,
    leaving: HashSet<Kid>,
    report: Report,
    progress: &'a mut dyn FnMut(Progress),
}

impl<'a> Run<'a> {
    pub(super) fn new(
        home: &'a Path,
        options: &'a PackOptions,
        objects: &'a dyn Objects,
        report: Report,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        let (set, pending) = (PackSet::new(home), Pending::default());
        let (of_log, leaving) = (HashSet::new(), HashSet::new());
        Self { home, options, objects, set, pending, of_log, leaving, report, progress }
    }

    /// Packs what is cold, joins packs, and lets trees and small blobs leave the log.
    pub(super) fn all(
        mut self,
        cold: &[Item],
        files: Option<&FileStore>,
    ) -> Result<Report, StoreError> {
        let of_log = cold.iter().filter(|item| item.sort() != Sort::Large);
        self.of_log.extend(of_log.map(|item| item.kid));
        self.pack(cold)?;
        let (home, max_pack) = (self.home, self.options.max_pack);
        self.report.joined =
            join_all(home, self.level(), max_pack, &mut self.pending, self.progress)?;
        if let Some(files) = files {
            self.report.log = small::leave_log(files, &self.leaving, &mut self.pending)?;
        }
        Ok(self.report)
    }

    fn level(&self) -> i32 {
        self.options.level.clamp(1, 19)
    }

    fn pack(&mut self, cold: &[Item]) -> Result<(), StoreError> {
        let mut remover = Remover::new(self.home, self.objects)?;
        let all = cold.len();
        let cold: Vec<&Item> = cold.iter().filter(|item| !remover.is_mounted(&item.kid)).collect();
        self.report.hot += (all - cold.len()) as u64;
        let mut told = Progress {
            phase: Phase::Packing,
            of_objects: cold.len() as u64,
            of_bytes: cold.iter().map(|item| item.size).sum(),
            ..Progress::default()
        };
        let (set, level) = (self.set.clone(), self.level());
        let sources = Sources { home: self.home, set: &set, objects: self.objects };
        let bounds = encode::bounds(&set)?;
        let mut own: Vec<Kid> = cold.iter().map(|item| item.kid).collect();
        own.sort_unstable();
        let mut open: Option<Encoder<'_>> = None;
        let mut batch: Vec<Kid> = Vec::new();
        for item in cold {
            told.objects += 1;
            told.bytes += item.size;
            (self.progress)(told);
            if set.find(&item.kid).is_ok_and(|found| found.is_some()) {
                self.report.already += u64::from(item.sort() == Sort::Large);
                batch.push(item.kid);
                continue;
            }
            let encoder = match &mut open {
                Some(encoder) => encoder,
                None => {
                    let path = self.pending.new_path(self.home)?;
                    open.insert(Encoder::new(&sources, &bounds, &own, path, level)?)
                }
            };
            let packed = encoder.add(item)?;
            self.count(item, packed);
            if encoder.is_full(self.options.max_pack)
                && let Some(full) = open.take()
            {
                self.finish(full, &mut remover, std::mem::take(&mut batch))?;
            }
        }
        match open {
            Some(encoder) => self.finish(encoder, &mut remover, batch),
            None => self.remove(&mut remover, &batch),
        }
    }

    fn count(&mut self, item: &Item, packed: (Packed, u64)) {
        let (how, bytes) = packed;
        match how {
            Packed::Gone => {}
            Packed::Damaged => self.report.damaged.push(item.kid),
            _ => {
                self.report.counts.add(how, bytes);
                self.report.objects += 1;
                self.report.bytes += bytes;
                let counts = &mut self.report.counts;
                let (count, sum) = match item.sort() {
                    Sort::Large => return,
                    Sort::Small => (&mut counts.small, &mut counts.small_bytes),
                    Sort::Tree => (&mut counts.trees, &mut counts.tree_bytes),
                };
                *count += 1;
                *sum += bytes;
            }
        }
    }

    fn finish(
        &mut self,
        encoder: Encoder<'_>,
        remover: &mut Remover<'_>,
        already: Vec<Kid>,
    ) -> Result<(), StoreError> {
        let mut kids = already;
        if let Some((name, packed)) = encoder.finish()? {
            let pack = packs::Pack::open(self.home, &name)
                .map_err(|what| StoreError::Pack { pack: packs::display(&name), what })?;
            self.report.packs.push(name.to_hex());
            self.report.packed_bytes += pack.disk_bytes(self.home);
            kids.extend(packed);
        }
        self.remove(remover, &kids)
    }

    /// Reads packed objects back, and removes the loose files of those that are whole; what is in
    /// the log leaves it in the end.
    fn remove(&mut self, remover: &mut Remover<'_>, kids: &[Kid]) -> Result<(), StoreError> {
        let (whole, damaged) = remover.check(kids, self.progress)?;
        self.report.damaged.extend(damaged);
        let (leaving, large) = whole.into_iter().partition(|kid| self.of_log.contains(kid));
        self.leaving.extend::<Vec<Kid>>(leaving);
        let (removed, bytes) = remover.remove(&large, self.progress)?;
        self.report.removed += removed;
        self.report.removed_bytes += bytes;
        Ok(())
    }
}
