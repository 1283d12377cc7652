//! Tar archives for images: files, directories and links, owned by root, without a time ([`Archive`]).

use std::io::{self, Read, Write};

use anyhow::{Result, ensure};

/// The size of a block in bytes.
const BLOCK: u64 = 512;

/// An archive that is being written.
pub(super) struct Archive<W: Write> {
    out: W,
}

/// The type of an entry, as encoded in the format.
#[derive(Clone, Copy)]
enum Kind {
    File = b'0' as isize,
    Link = b'2' as isize,
    Directory = b'5' as isize,
}

// === impl Archive ===

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    /// Adds a file of `size` bytes, which must be the length of `content`.
    pub(super) fn file(
        &mut self,
        name: &str,
        mode: u32,
        (size, mut content): (u64, impl Read),
    ) -> Result<()> {
        self.out.write_all(&header((name, mode), Kind::File, size, "")?)?;
        let written = io::copy(&mut content, &mut self.out)?;
        ensure!(written == size, "{name} has {written} bytes, not {size}");
        let rest = (BLOCK - size % BLOCK) % BLOCK;
        io::copy(&mut io::repeat(0).take(rest), &mut self.out)?;
        Ok(())
    }

    pub(super) fn directory(&mut self, name: &str, mode: u32) -> Result<()> {
        Ok(self.out.write_all(&header((&format!("{name}/"), mode), Kind::Directory, 0, "")?)?)
    }

    pub(super) fn link(&mut self, name: &str, target: &str) -> Result<()> {
        Ok(self.out.write_all(&header((name, 0o777), Kind::Link, 0, target)?)?)
    }

    /// Finishes the archive, and returns its writer.
    pub(super) fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Returns a header in the "ustar" format.
fn header((name, mode): (&str, u32), kind: Kind, size: u64, target: &str) -> Result<[u8; BLOCK as usize]> {
    ensure!(name.len() < 100 && target.len() < 100, "{name}: at most 99 letters are possible");
    let mut block = [0; BLOCK as usize];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    // The checksum is computed with its own field as spaces.
    put(148, "        ");
    put(157, target);
    put(257, "ustar\x0000");
    block[156] = kind as u8;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn tar_reads_what_was_written() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("tmp", 0o1777).unwrap();
        archive.file("tmp/word", 0o640, (5, &b"hello"[..])).unwrap();
        archive.link("tmp/same", "word").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        std::fs::write(&path, archive.finish().unwrap()).unwrap();
        let listed = Command::new("tar").arg("-tvf").arg(&path).stderr(Stdio::inherit()).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for expected in ["drwxrwxrwt 0/0", "-rw-r----- 0/0", "tmp/same -> word"] {
            assert!(listed.contains(expected), "{listed}");
        }
    }

    #[test]
    fn a_file_that_grew_is_refused() {
        let grown = Archive::new(Vec::new()).file("word", 0o644, (3, &b"hello"[..]));
        assert!(grown.unwrap_err().to_string().contains("5 bytes, not 3"));
    }
}
