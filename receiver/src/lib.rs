//! Receiving git: a push becomes a commit under `/source`, its packs and refs live under `/git`.

mod check;
mod fsck;
mod git;
mod lfs;
mod pack;
