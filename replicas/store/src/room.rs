//! How much room a disk has left, and whether that is too little to take writes (DESIGN.md, Storage).
//! What is low is low until there is a little more room than it takes, so that a node at the edge does not hand its
//! leadership to and fro.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::{DISK_FREE_BYTES_ENOUGH, DISK_FREE_BYTES_MIN, DISK_FREE_PERCENT_MIN, DISK_SPARE_PERCENT};

/// The room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What can still be written.
    pub free: u64,
    /// Its size.
    pub total: u64,
}

impl Room {
    /// What must be free, in bytes: 5 % of the disk, from 1 to 4 GiB.
    #[must_use]
    pub fn free_min(self) -> u64 {
        (self.total / 100 * DISK_FREE_PERCENT_MIN).clamp(DISK_FREE_BYTES_MIN, DISK_FREE_BYTES_ENOUGH)
    }

    /// Whether it is too little, where it was or was not at the last look.
    fn is_low(self, was_low: bool) -> bool {
        let spare = if was_low { self.free_min() / 100 * DISK_SPARE_PERCENT } else { 0 };
        self.free < self.free_min() + spare
    }
}

/// Where the room of a disk is asked.
pub trait Space: Send + Sync + 'static {
    /// The room there is. May block for the disk: never on a tokio worker.
    ///
    /// # Errors
    /// What the operating system says.
    fn room(&self) -> io::Result<Room>;
}

/// The file system that a folder is on.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder, which must be there when it is asked.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Space for Folder {
    fn room(&self) -> io::Result<Room> {
        let found = rustix::fs::statvfs(&self.0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Room { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }
}

/// A disk that has too little room for more writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its disk has {} free and must keep {}: make room, and writes are taken again", Mebibytes(.0.free), Mebibytes(.0.free_min()))]
pub struct Shortage(pub Room);

struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 >> 20)
    }
}

/// What the last look at a disk has shown.
pub struct Headroom {
    space: Arc<dyn Space>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// `None` before the first look.
    room: Option<Room>,
    is_low: bool,
    /// Whether the last look failed.
    is_blind: bool,
}

impl Headroom {
    /// Not low before the first look.
    #[must_use]
    pub fn new(space: Arc<dyn Space>) -> Self {
        Self { space, seen: Mutex::default() }
    }

    /// Looks, and logs what has changed. A disk that cannot be asked stays what it was. Blocks: never on a tokio worker.
    pub fn look(&self) {
        let found = self.space.room();
        let mut seen = self.seen.lock();
        let before = *seen;
        match found {
            Ok(room) => *seen = Seen { room: Some(room), is_low: room.is_low(before.is_low), is_blind: false },
            Err(error) => {
                seen.is_blind = true;
                if !before.is_blind {
                    tracing::warn!(%error, "the free room of the disk cannot be seen");
                }
            }
        }
        let Seen { room: Some(Room { free, total }), is_low, .. } = *seen else { return };
        match (before.is_low, is_low) {
            (false, true) => tracing::warn!(free, total, "the disk is nearly full: writes are refused"),
            (true, false) => tracing::info!(free, total, "the disk has room again: writes are taken"),
            (true, true) | (false, false) => {}
        }
    }

    /// Whether there was too little room at the last look.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.seen.lock().is_low
    }

    /// The room at the last look, if there was one.
    #[must_use]
    pub fn room(&self) -> Option<Room> {
        self.seen.lock().room
    }

    /// Whether there is room for a write.
    ///
    /// # Errors
    /// [`Shortage`], when there was too little at the last look.
    pub fn check(&self) -> Result<(), Shortage> {
        let seen = *self.seen.lock();
        match seen.room {
            Some(room) if seen.is_low => Err(Shortage(room)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::Disk;

    const GIB: u64 = 1 << 30;

    #[test]
    fn five_percent_must_be_free_from_one_to_four_gibibytes() {
        let check = |total: u64, free: u64, was_low: bool, expected: bool| {
            assert_eq!(Room { free, total }.is_low(was_low), expected, "{free} of {total}, {was_low}");
        };
        check(10 * GIB, GIB, false, false);
        check(10 * GIB, GIB - 1, false, true);
        check(40 * GIB, 2 * GIB - 1024, false, true);
        check(40 * GIB, 2 * GIB, false, false);
        check(1000 * GIB, 4 * GIB - 1, false, true);
        check(1000 * GIB, 4 * GIB, false, false);
        // Once low, a little more.
        check(10 * GIB, GIB, true, true);
        check(10 * GIB, GIB + GIB / 10, true, false);
        check(u64::MAX, u64::MAX, true, false);
    }

    #[test]
    fn it_is_low_from_one_look_to_the_next() {
        let disk = Disk::new(0);
        let headroom = Headroom::new(Arc::new(disk.clone()));
        assert!(!headroom.is_low() && headroom.check().is_ok());
        disk.set_room(Room { free: 3 << 20, total: 10 * GIB });
        headroom.look();
        let shortage = headroom.check().unwrap_err().to_string();
        assert_eq!(shortage, "its disk has 3 MiB free and must keep 1024 MiB: make room, and writes are taken again");
        disk.set_room(Room { free: 9 * GIB, total: 10 * GIB });
        assert!(headroom.is_low());
        headroom.look();
        assert!(!headroom.is_low());
        assert_eq!(headroom.room().unwrap().free, 9 * GIB);
    }

    #[test]
    fn a_folder_has_room_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let room = Folder::new(folder.path().to_owned()).room().unwrap();
        assert!(room.free <= room.total && room.total > 0);
        Folder::new(folder.path().join("missing")).room().unwrap_err();
    }
}
