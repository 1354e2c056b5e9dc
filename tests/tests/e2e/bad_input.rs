//! What people and machines get wrong: one clear message, the right exit code, nothing lost.
