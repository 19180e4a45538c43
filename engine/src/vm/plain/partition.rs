//! Which partition of a disk holds the root file system, for images that distributions make for clouds.
//!
//! Only what says so is read: the GUID partition table (UEFI 2.10, section 5.3) or the older one of the master boot record. The bytes
//! are whatever somebody downloaded, so nothing in them is believed beyond its bounds; a table that makes no sense is no table.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a sector, which these tables count in. Disks with sectors of 4096 bytes are not looked at.
const SECTOR: u64 = 512;
/// Entries of a table that are looked at; `sfdisk` and everyone else makes 128.
const MOST: u32 = 256;
/// Bytes of one entry of a table that are used.
const ENTRY: usize = 48;

/// Root of x86-64, as the Discoverable Partitions Specification has it.
const ROOT_X86_64: u128 = 0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709;
/// Any file system of Linux.
const LINUX_DATA: u128 = 0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4;
/// Types in the older table: a file system of Linux, and that the other table counts.
const MBR_LINUX: u8 = 0x83;
const MBR_PROTECTIVE: u8 = 0xee;

/// The PARTUUID, as Linux writes it, of the partition that is the root: the one that says so, else the largest with a file system of
/// Linux. `None` if there is none, or the disk is not partitioned.
///
/// # Errors
/// If the disk cannot be read.
pub(crate) fn root(disk: &File) -> io::Result<Option<String>> {
    let mut sector = [0; 512];
    if !read(disk, 0, &mut sector)? || sector[510..] != [0x55, 0xaa] {
        return Ok(None);
    }
    let entries = sector[446..510].chunks_exact(16);
    if entries.clone().any(|entry| entry[4] == MBR_PROTECTIVE) {
        return gpt(disk);
    }
    let signature = u32_at(&sector, 440);
    let linux = (1..)
        .zip(entries)
        .filter(|(_, entry)| entry[4] == MBR_LINUX);
    let largest = linux.max_by_key(|(_, entry)| u32_at(entry, 12));
    Ok(largest.map(|(number, _)| format!("{signature:08x}-{number:02x}")))
}

fn gpt(disk: &File) -> io::Result<Option<String>> {
    let mut header = [0; 92];
    if !read(disk, SECTOR, &mut header)? || header[..8] != *b"EFI PART" {
        return Ok(None);
    }
    let (table, count) = (u64_at(&header, 72), u32_at(&header, 80).min(MOST));
    let size = u64::from(u32_at(&header, 84));
    let mut best: Option<(bool, u64, String)> = None;
    for index in 0..u64::from(count) {
        let place = table.checked_mul(SECTOR);
        let place = place.and_then(|at| at.checked_add(size.checked_mul(index)?));
        let mut entry = [0; ENTRY];
        match place {
            Some(at) if size >= ENTRY as u64 && read(disk, at, &mut entry)? => {}
            _ => break,
        }
        let (kind, unique) = (guid(&entry), guid(&entry[16..]));
        if kind != ROOT_X86_64 && kind != LINUX_DATA {
            continue;
        }
        let sectors = u64_at(&entry, 40).saturating_sub(u64_at(&entry, 32));
        let rank = (kind == ROOT_X86_64, sectors);
        if best.as_ref().is_none_or(|best| (best.0, best.1) < rank) {
            best = Some((rank.0, rank.1, written(unique)));
        }
    }
    Ok(best.map(|(.., uuid)| uuid))
}

/// Fills `target` from the byte `at` on; false if the disk ends before.
fn read(disk: &File, at: u64, target: &mut [u8]) -> io::Result<bool> {
    match disk.read_exact_at(target, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        // Beyond what a file can have at all.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
        read => read.map(|()| true),
    }
}

/// The GUID at the beginning, whose first three groups are little-endian, as a number that reads as it is written.
fn guid(bytes: &[u8]) -> u128 {
    let mut guid = [0; 16];
    guid.copy_from_slice(&bytes[..16]);
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    u128::from_be_bytes(guid)
}

fn written(guid: u128) -> String {
    let digits = format!("{guid:032x}");
    let group = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    [
        group(0..8),
        group(8..12),
        group(12..16),
        group(16..20),
        group(20..32),
    ]
    .join("-")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIQUE: [u8; 16] = [
        0x78, 0x56, 0x34, 0x12, 0xcd, 0xab, 0x01, 0x4f, 0x80, 1, 2, 3, 4, 5, 6, 7,
    ];

    fn disk(pieces: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 10).unwrap();
        for (at, bytes) in pieces {
            file.write_all_at(bytes, *at).unwrap();
        }
        file
    }

    fn bytes_of(guid: u128) -> [u8; 16] {
        let mut bytes = guid.to_be_bytes();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }

    /// A table in sector 2 with entries of 128 bytes: their types, their last sectors, and the last byte of their GUIDs.
    fn partitioned(entries: &[(u128, u64, u8)]) -> File {
        let mut header = b"EFI PART".to_vec();
        header.resize(72, 0);
        header.extend(2_u64.to_le_bytes());
        header.extend(128_u32.to_le_bytes());
        header.extend(128_u32.to_le_bytes());
        let mut table = Vec::new();
        for (index, (kind, last, unique)) in entries.iter().enumerate() {
            table.resize(index * 128, 0);
            table.extend(bytes_of(*kind));
            table.extend(&UNIQUE[..15]);
            table.push(*unique);
            table.extend(40_u64.to_le_bytes());
            table.extend(last.to_le_bytes());
        }
        let protective = [0, 0, 0, 0, MBR_PROTECTIVE];
        disk(&[
            (446, &protective),
            (510, &[0x55, 0xaa]),
            (512, &header),
            (1024, &table),
        ])
    }

    #[test]
    fn the_root_is_what_says_so_or_else_the_largest_file_system_of_linux() {
        let esp = 0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b;
        let found = |entries: &[_]| root(&partitioned(entries)).unwrap();
        let uuid = |last| Some(format!("12345678-abcd-4f01-8001-0203040506{last:02x}"));
        let (small, large) = ((LINUX_DATA, 50, 1), (LINUX_DATA, 90, 2));
        assert_eq!(found(&[(esp, 99, 9), small, large]), uuid(2));
        assert_eq!(found(&[large, (ROOT_X86_64, 60, 3), small]), uuid(3));
        assert_eq!(found(&[(esp, 99, 9)]), None);
    }

    #[test]
    fn older_tables_and_disks_without_any_are_known() {
        let mut entries = [0; 64];
        entries[16 + 4] = MBR_LINUX;
        entries[16 + 12] = 9;
        entries[32 + 4] = 0x82;
        entries[32 + 12] = 99;
        let signature = 0xdead_beef_u32.to_le_bytes();
        let old = disk(&[(440, &signature), (446, &entries), (510, &[0x55, 0xaa])]);
        assert_eq!(root(&old).unwrap().as_deref(), Some("deadbeef-02"));
        assert_eq!(root(&disk(&[])).unwrap(), None);
        assert_eq!(root(&tempfile::tempfile().unwrap()).unwrap(), None);
    }

    #[test]
    fn tables_that_lead_nowhere_are_none() {
        for (at, bytes) in [
            (72, [64, 0, 0, 0, 0, 0, 0, 0]),
            (72, [0xff; 8]),
            (80, [0, 0, 0, 0, 128, 0, 0, 0]),
            (80, [128, 0, 0, 0, 0, 0, 0, 0]),
            (80, [0xff; 8]),
        ] {
            let disk = partitioned(&[(LINUX_DATA, 50, 1)]);
            disk.write_all_at(&bytes, 512 + at).unwrap();
            let found = root(&disk).unwrap();
            // The first entry is there in any case where a table of any number of entries, of any size from theirs on, is.
            assert_eq!(
                found.is_some(),
                at == 80 && bytes == [0xff; 8],
                "{at} {bytes:x?}"
            );
        }
    }
}
