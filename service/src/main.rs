mod certificate;

fn main() {}
