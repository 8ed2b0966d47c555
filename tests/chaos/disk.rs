//! A small disk: a file system in memory, where the system lets one be mounted.

use std::path::{Path, PathBuf};

use skerry_tests::processes::until;

use super::command::command;

const KIB: u64 = 2 << 20;

/// A file system in memory, mounted where a node keeps its data.
pub(super) struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts one.
    pub(super) fn mount(at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let size = format!("size={KIB}k");
        command("mount", &["-t", "tmpfs", "-o", &size, "skerry-chaos", &at.display().to_string()])?;
        Ok(Self { at: at.to_owned() })
    }

    /// Nothing more fits than is there, within one page or so.
    pub(super) fn fill(&self) {
        until("the disk to be full", || {
            // More may have been written since the look, and then the system refuses the size.
            let used = command("df", &["--output=used", "-k", &self.at.display().to_string()]).expect("df is there");
            let used = used.lines().nth(1).expect("df answers two lines").trim().to_owned();
            self.resize(&used).ok()
        });
    }

    /// As large as it was.
    pub(super) fn free(&self) {
        self.resize(&KIB.to_string()).expect("it was that large before");
    }

    fn resize(&self, kib: &str) -> Result<(), String> {
        command("mount", &["-o", &format!("remount,size={kib}k"), &self.at.display().to_string()]).map(|_| ())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(reason) = command("umount", &[&self.at.display().to_string()]) {
            println!("chaos: a disk stays mounted: {reason}");
        }
    }
}
