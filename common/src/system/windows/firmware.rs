//! What the firmware says of the machine (SMBIOS).

use std::ptr::null_mut;

use windows_sys::Win32::System::SystemInformation::{GetSystemFirmwareTable, RSMB};

/// Bytes before the structures: how they are to be read, and how many there are.
const HEADER: usize = 8;
/// The type of the structure about the machine as a whole, where its number is in it, and how many bytes that has.
const SYSTEM: u8 = 1;
const NUMBER: std::ops::Range<usize> = 8..24;

/// Which machine this is: the firmware's number, which differs on a copy (an image, a clone). `None` where there is none.
pub fn machine() -> Option<String> {
    // SAFETY: only the length is asked for.
    let length = unsafe { GetSystemFirmwareTable(RSMB, 0, null_mut(), 0) };
    let mut table = vec![0_u8; length as usize];
    // SAFETY: the buffer is as long as said.
    let written = unsafe { GetSystemFirmwareTable(RSMB, 0, table.as_mut_ptr(), length) };
    table.truncate(written as usize);
    let number = number(table.get(HEADER..)?)?;
    let is_set = number.iter().any(|byte| *byte != 0) && number.iter().any(|byte| *byte != 0xFF);
    is_set.then(|| number.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Goes from structure to structure: each says its length, and has texts behind it that end with two zeros.
fn number(mut structures: &[u8]) -> Option<&[u8]> {
    loop {
        let (kind, length) = (*structures.first()?, usize::from(*structures.get(1)?));
        let structure = structures.get(..length)?;
        if kind == SYSTEM {
            return structure.get(NUMBER);
        }
        let texts = structures.get(length..)?;
        let end = texts.windows(2).position(|two| two == [0, 0])?;
        structures = texts.get(end + 2..)?;
    }
}
