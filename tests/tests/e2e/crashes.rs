//! Kill -9 of parts and of everything, at any moment.
