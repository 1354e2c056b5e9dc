//! Owners of packaged files by name: the ids that Debian assigns for all systems (Debian Policy
//! 9.2.2, package base-passwd). Other names exist only after configuration, so their files belong
//! to root until then.

/// Users with fixed ids.
const USERS: &[(&str, u32)] = &[
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("sync", 4),
    ("games", 5),
    ("man", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("proxy", 13),
    ("www-data", 33),
    ("backup", 34),
    ("list", 38),
    ("irc", 39),
    ("nobody", 65534),
];

/// Groups with fixed ids.
const GROUPS: &[(&str, u32)] = &[
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("man", 12),
    ("proxy", 13),
    ("kmem", 15),
    ("dialout", 20),
    ("fax", 21),
    ("voice", 22),
    ("cdrom", 24),
    ("floppy", 25),
    ("tape", 26),
    ("sudo", 27),
    ("audio", 29),
    ("dip", 30),
    ("www-data", 33),
    ("backup", 34),
    ("operator", 37),
    ("list", 38),
    ("irc", 39),
    ("src", 40),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("sasl", 45),
    ("plugdev", 46),
    ("staff", 50),
    ("games", 60),
    ("users", 100),
    ("nogroup", 65534),
];

/// The id of a file's user.
pub fn user(name: &[u8], id: u64) -> u32 {
    look_up(USERS, name, id)
}

/// The id of a file's group.
pub fn group(name: &[u8], id: u64) -> u32 {
    look_up(GROUPS, name, id)
}

/// By name; without a name by id, where the id is one of the fixed ones; root otherwise.
fn look_up(table: &[(&str, u32)], name: &[u8], id: u64) -> u32 {
    let fits = |(n, i): &&(&str, u32)| match name {
        b"" => u64::from(*i) == id,
        name => n.as_bytes() == name,
    };
    table.iter().find(fits).map_or(0, |(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_before_numbers() {
        assert_eq!(user(b"root", 1000), 0);
        assert_eq!(user(b"man", 0), 6);
        assert_eq!(group(b"shadow", 999), 42);
        assert_eq!(group(b"", 42), 42);
        assert_eq!(group(b"_chrony", 123), 0);
        assert_eq!(user(b"", 1000), 0);
    }
}
