//! A directory as the tar archive that the daemon builds from.
//!
//! Links are links, owners are root, and what cannot be in an image (sockets) is left out.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use tar::{Builder, EntryType, Header};

use super::context::{Directory, IGNORE};

/// Writes all of a directory that is not left out, with the Dockerfile of this name.
pub(super) fn directory(from: &Directory, dockerfile: &str, to: impl Write) -> anyhow::Result<()> {
    let mut archive = Archive {
        from,
        dockerfile,
        tar: Builder::new(to),
    };
    archive.children(Path::new(""))?;
    let mut ignored = from.ignore_text.clone();
    if let Some(text) = &from.dockerfile {
        archive.text(dockerfile, text)?;
        // It is none of the files that can be copied.
        let ignored = ignored.get_or_insert_default();
        ignored.push_str(&format!("\n{dockerfile}\n"));
    }
    if let Some(text) = ignored {
        archive.text(IGNORE, text.as_bytes())?;
    }
    archive.tar.into_inner()?.flush()?;
    Ok(())
}

/// Writes an archive of a Dockerfile and nothing else.
pub(super) fn dockerfile(name: &str, text: &[u8], to: impl Write) -> anyhow::Result<()> {
    let mut tar = Builder::new(to);
    tar.append_data(&mut plain(text.len()), name, text)?;
    tar.into_inner()?.flush()?;
    Ok(())
}

struct Archive<'a, W: Write> {
    from: &'a Directory,
    dockerfile: &'a str,
    tar: Builder<W>,
}

impl<W: Write> Archive<'_, W> {
    /// All that is in a directory, by names, so that the same files are always the same archive.
    fn children(&mut self, directory: &Path) -> anyhow::Result<()> {
        let path = self.from.root.join(directory);
        let failed = || format!("cannot read {}", path.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).with_context(failed)? {
            names.push(entry.with_context(failed)?.file_name());
        }
        names.sort();
        for name in names {
            self.one(&directory.join(name))?;
        }
        Ok(())
    }

    fn one(&mut self, name: &Path) -> anyhow::Result<()> {
        let path = self.from.root.join(name);
        let failed = || format!("cannot read {}", path.display());
        let metadata = fs::symlink_metadata(&path).with_context(failed)?;
        let left_out = self.leaves_out(name);
        if metadata.is_dir() {
            if !left_out {
                let mut header = header(&metadata);
                self.tar.append_data(&mut header, name, io::empty())?;
            }
            // Something in it may be kept all the same.
            if !left_out || self.from.ignore.keeps_something() || self.holds_dockerfile(name) {
                self.children(name)?;
            }
            return Ok(());
        }
        if left_out {
            return Ok(());
        }
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&path).with_context(failed)?;
            let mut header = header(&metadata);
            header.set_size(0);
            self.tar.append_link(&mut header, name, &target)?;
        } else if kind.is_file() {
            let mut file = File::open(&path).with_context(failed)?;
            self.file(name, &metadata, &mut file)
                .with_context(|| format!("cannot send {}", path.display()))?;
        } else if !kind.is_socket() {
            let mut header = header(&metadata);
            header.set_size(0);
            self.tar.append_data(&mut header, name, io::empty())?;
        }
        Ok(())
    }

    /// A file may grow or shrink while it is read, and an entry cannot.
    fn file(&mut self, name: &Path, metadata: &Metadata, file: &mut File) -> anyhow::Result<()> {
        let mut bytes = file.take(metadata.len());
        self.tar
            .append_data(&mut header(metadata), name, &mut bytes)?;
        ensure!(bytes.limit() == 0, "it became shorter while it was read");
        Ok(())
    }

    fn text(&mut self, name: &str, text: &[u8]) -> anyhow::Result<()> {
        Ok(self.tar.append_data(&mut plain(text.len()), name, text)?)
    }

    fn leaves_out(&self, name: &Path) -> bool {
        let name = name.to_string_lossy();
        // The daemon needs the one, and gets the other as it is meant.
        name != self.dockerfile && (name == IGNORE || self.from.ignore.leaves_out(&name))
    }

    fn holds_dockerfile(&self, directory: &Path) -> bool {
        self.from.dockerfile.is_none() && Path::new(self.dockerfile).starts_with(directory)
    }
}

fn header(metadata: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn plain(length: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(u64::try_from(length).unwrap_or(u64::MAX));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use hull_image::build::Ignore;

    use super::*;

    /// What an archive has: each name with its kind and text.
    fn packed(directory: &Directory, dockerfile: &str) -> BTreeMap<String, (EntryType, String)> {
        let mut bytes = Vec::new();
        super::directory(directory, dockerfile, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut all = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let kind = entry.header().entry_type();
            assert_eq!(entry.header().uid().unwrap(), 0);
            let mut text = String::new();
            match entry.link_name().unwrap() {
                Some(target) => text = target.to_string_lossy().into_owned(),
                None => drop(entry.read_to_string(&mut text).unwrap()),
            }
            assert!(all.insert(name, (kind, text)).is_none());
        }
        all
    }

    fn from(root: &Path, ignore: &str) -> Directory {
        Directory {
            root: root.to_owned(),
            ignore: Ignore::parse(ignore).unwrap(),
            ignore_text: Some(ignore.to_owned()),
            dockerfile: None,
        }
    }

    #[test]
    fn what_is_left_out_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let long = format!("deep/{}/file", "n".repeat(150));
        for name in [
            "docker/Dockerfile",
            "a.log",
            "b.txt",
            "logs/x.log",
            "logs/keep/y",
            &long,
        ] {
            write(name, name);
        }
        symlink("b.txt", dir.path().join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();

        let all = packed(&from(dir.path(), ""), "docker/Dockerfile");
        assert_eq!(all["link"], (EntryType::Symlink, "b.txt".to_owned()));
        assert_eq!(all["b.txt"], (EntryType::Regular, "b.txt".to_owned()));
        assert_eq!(all["logs"].0, EntryType::Directory);
        assert!(all.contains_key(&long) && !all.contains_key("s"), "{all:?}");

        let ignore = "docker\n*.log\nlogs\n!logs/keep\ndeep\n";
        let some = packed(&from(dir.path(), ignore), "docker/Dockerfile");
        let names: Vec<&str> = some.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                ".dockerignore",
                "b.txt",
                "docker/Dockerfile",
                "link",
                "logs/keep",
                "logs/keep/y"
            ]
        );
        assert_eq!(some[".dockerignore"].1, ignore);
    }

    #[test]
    fn a_dockerfile_from_elsewhere_is_there_and_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = from(dir.path(), "a");
        directory.dockerfile = Some(b"FROM scratch\n".to_vec());
        let all = packed(&directory, ".dockerfile.0123");
        assert_eq!(all[".dockerfile.0123"].1, "FROM scratch\n");
        assert_eq!(all[".dockerignore"].1, "a\n.dockerfile.0123\n");
    }
}
