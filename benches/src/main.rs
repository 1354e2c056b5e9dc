//! Side by side with the peers: how long what people wait for takes, and what it takes to run.
//!
//! Nothing is asserted: the tables say what was measured on this machine now, see
//! `docs/benchmarks.md`. Every table is a module with one function that measures it.

mod cas;
mod edit;
mod first;
mod floor;
mod followers;
mod growth;
mod kegs;
mod machine;
mod memory;
mod noop;
mod parts;
mod peers;
mod plot;
mod rootfs;
mod sample;
mod store;
mod table;
mod text;
mod trial;
mod versions;
mod wire;

use std::{cell::LazyCell, path::PathBuf};

use crate::{kegs::Template, machine::Machine, table::Table};
use clap::Parser;

/// Measures Keg and its peers on this machine and prints medians.
#[derive(Parser)]
#[command(name = "benches/run")]
struct Args {
    /// One JSON document instead of tables.
    #[arg(long)]
    json: bool,
    /// Runs of each thing that takes longer than a few milliseconds.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// A directory for the table `versions`, in place of a Debian root with a toolchain.
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Tables to measure; all if none is named.
    #[arg(value_parser = TABLES.map(|(name, _)| name))]
    tables: Vec<String>,
}

/// What a table is measured with.
struct Bench {
    /// Runs of each thing.
    runs: usize,
    /// The tree of the table `versions`, if another one is wanted.
    tree: Option<PathBuf>,
    /// Where Kegs with packages come from; made when it is first wanted.
    template: LazyCell<Template>,
}

/// One table.
type Measure = fn(&Bench) -> Vec<Table>;

/// All tables, in the order they are measured and printed.
const TABLES: [(&str, Measure); 13] = [
    ("edit", edit::measure),
    ("noop", noop::measure),
    ("first", first::measure),
    ("rootfs", rootfs::measure),
    ("memory", memory::measure),
    ("store", store::measure),
    ("cas", cas::measure),
    ("followers", followers::measure),
    ("wire", wire::measure),
    ("backup", wire::backup),
    ("machine", floor::measure),
    ("versions", versions::measure),
    ("growth", growth::measure),
];

fn main() {
    if cas::is_child() {
        return;
    }
    let args = Args::parse();
    kegs::use_own_binary();
    let wanted = |name: &str| args.tables.is_empty() || args.tables.iter().any(|t| t == name);
    let machine = Machine::now();
    let template = LazyCell::new(Template::make as fn() -> Template);
    let bench = Bench { runs: args.runs as usize, tree: args.tree, template };
    let mut tables = Vec::new();
    for (name, measure) in TABLES.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("measuring: {name} (load {})", text::load(machine::load()));
        let before = machine::load();
        let mut measured = measure(&bench);
        measured.iter_mut().for_each(|table| table.load = [before, machine::load()]);
        if !args.json {
            measured.iter().for_each(|table| println!("{}", text::table(table)));
        }
        tables.extend(measured);
    }
    if args.json {
        println!("{}", serde_json::json!({ "machine": machine, "tables": tables }));
    } else {
        println!("{}", text::machine(&machine));
    }
}
