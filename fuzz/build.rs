//! A module of the service asks for the name of its program.

fn main() {
    println!("cargo::rustc-env=CARGO_BIN_NAME=fuzz");
}
