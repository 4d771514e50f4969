//! An emulated Azure.
