//! Which filesystems a database must not lie on, and which keep the numbers of files.
//!
//! SQLite's write-ahead log needs memory shared between its users and locks that work; across a network it has
//! neither, and corrupts the file sooner or later.

use std::path::Path;

/// The name of the network filesystem that a folder lies on, if it lies on one.
#[cfg(target_os = "linux")]
pub(super) fn network_filesystem_of(folder: &Path) -> Option<&'static str> {
    let magic = rustix::fs::statfs(folder).ok()?.f_type;
    // Filesystems in user space share one number; their kind stands in the table of mounts.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    network_filesystem(magic, kind_of_mount(&mounts, folder))
}

/// The name of the network filesystem that a folder lies on: not known on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn network_filesystem_of(_folder: &Path) -> Option<&'static str> {
    None
}

/// Whether a file on the filesystem of this folder has the same number for as long as it is there, also when that is mounted
/// again. Others may draw new ones each time.
#[cfg(target_os = "linux")]
pub(super) fn keeps_numbers(folder: &Path) -> bool {
    /// ext, XFS, Btrfs, ZFS, F2FS, bcachefs and tmpfs.
    const KEEP: [i64; 7] =
        [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0xCA45_1A4E, 0x0102_1994];
    rustix::fs::statfs(folder).is_ok_and(|found| KEEP.contains(&(found.f_type & 0xFFFF_FFFF)))
}

/// Whether numbers of files last: not known on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn keeps_numbers(_folder: &Path) -> bool {
    false
}

/// Decides by the number that `statfs` gives, and for filesystems in user space by their kind.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn network_filesystem(magic: i64, kind: Option<&str>) -> Option<&'static str> {
    // Some systems sign-extend what is a number of 32 bits.
    match magic & 0xFFFF_FFFF {
        0x6969 => Some("NFS"),
        0x517B | 0xFE53_4D42 => Some("SMB"),
        0xFF53_4D42 => Some("CIFS"),
        0x0102_1997 => Some("9p"),
        0x564C => Some("NCP"),
        0x5346_414F | 0x6B41_4653 => Some("AFS"),
        0x7375_7245 => Some("Coda"),
        0x00C3_6400 => Some("Ceph"),
        0x6573_5546 => match kind?.strip_prefix("fuse.")? {
            "sshfs" => Some("sshfs"),
            "s3fs" | "goofys" | "mountpoint-s3" => Some("S3"),
            "gcsfuse" => Some("Google Cloud Storage"),
            "blobfuse" | "blobfuse2" => Some("Azure Blob Storage"),
            "rclone" => Some("rclone"),
            "davfs" | "davfs2" => Some("WebDAV"),
            "curlftpfs" => Some("FTP"),
            "glusterfs" => Some("GlusterFS"),
            "ceph" | "ceph-fuse" => Some("Ceph"),
            "juicefs" | "JuiceFS" => Some("JuiceFS"),
            _ => None,
        },
        _ => None,
    }
}

/// The kind of the filesystem that holds a folder, by a table of mounts as `/proc/self/mountinfo` has it.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn kind_of_mount<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (mounted, filesystem) = line.split_once(" - ")?;
        // The table writes a space as \040, and so on.
        let point = mounted.split(' ').nth(4)?.replace("\\040", " ");
        folder.starts_with(&point).then_some((point.len(), filesystem.split(' ').next()?))
    };
    // Of two mounts on one point the later one is seen.
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUSE: i64 = 0x6573_5546;

    #[test]
    fn network_filesystems_are_told_by_their_number() {
        let known = [(0x6969, "NFS"), (0x517B, "SMB"), (0xFE53_4D42, "SMB"), (0xFF53_4D42, "CIFS")];
        for (magic, name) in known {
            assert_eq!(network_filesystem(magic, None), Some(name));
        }
        assert_eq!(network_filesystem(0x0102_1997, None), Some("9p"));
        assert_eq!(network_filesystem(i64::from(0xFF53_4D42_u32.cast_signed()), None), Some("CIFS"));
    }

    #[test]
    fn local_filesystems_are_let_through() {
        let local = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1];
        for magic in local {
            assert_eq!(network_filesystem(magic, None), None, "{magic:x}");
        }
    }

    #[test]
    fn filesystems_in_user_space_are_told_by_their_kind() {
        assert_eq!(network_filesystem(FUSE, Some("fuse.sshfs")), Some("sshfs"));
        assert_eq!(network_filesystem(FUSE, Some("fuse.mergerfs")), None);
        assert_eq!(network_filesystem(FUSE, Some("fuseblk")), None);
        assert_eq!(network_filesystem(FUSE, None), None);
        assert_eq!(network_filesystem(0xEF53, Some("fuse.sshfs")), None);
    }

    #[test]
    fn the_deepest_mount_holds_a_folder() {
        let mounts = "\
            22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            40 22 0:35 / /mnt/my\\040data rw shared:9 - fuse.sshfs me@there: rw\n\
            41 22 0:36 / /mnt rw - ext4 /dev/sdb1 rw\n";
        let kind = |folder: &str| kind_of_mount(mounts, Path::new(folder));
        assert_eq!(kind("/mnt/my data/queue"), Some("fuse.sshfs"));
        assert_eq!(kind("/mnt/my database"), Some("ext4"));
        assert_eq!(kind("/home"), Some("ext4"));
    }
}
