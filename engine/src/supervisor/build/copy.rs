//! `COPY`, `ADD` and `WORKDIR`: layers of files that are somewhere else.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use hull_image::Digest;
use hull_image::build::{Base, Copy, CopyError, Copying, Files, Ignore};
use hull_image::registry;
use jiff::Timestamp;
use tempfile::TempDir;

use super::{Build, BuildError, Made, Making, Report, blocking};

/// Largest file that is fetched from an address.
const MAX_REMOTE: u64 = 64 << 30;

/// A copy whose sources are known.
#[derive(Debug)]
pub(super) struct Prepared {
    copy: Arc<Copy>,
    from: Arc<Files>,
    below: Arc<Files>,
    ignore: Arc<Ignore>,
    /// What is copied.
    pub(super) content: Digest,
    /// Where archives are unpacked.
    place: Arc<TempDir>,
    /// Where files lie that were fetched.
    _fetched: Option<TempDir>,
}

impl Prepared {
    /// Writes the layer into a file without a name.
    pub(super) async fn write(&self) -> Result<File, BuildError> {
        let copying = self.copying();
        let place = Arc::clone(&self.place);
        blocking(move || {
            let mut layer = unnamed(place.path())?;
            copying(place.path(), &mut layer)?;
            layer.seek(SeekFrom::Start(0)).map_err(read_error)?;
            Ok::<_, CopyError>(layer)
        })
        .await
    }

    fn copying(
        &self,
    ) -> impl FnOnce(&Path, &mut dyn Write) -> Result<Digest, CopyError> + Send + 'static {
        let (copy, ignore) = (Arc::clone(&self.copy), Arc::clone(&self.ignore));
        let (from, below) = (Arc::clone(&self.from), Arc::clone(&self.below));
        move |scratch, out| {
            let copying = Copying {
                from: &from,
                below: &below,
                ignore: Some(&ignore),
                scratch,
                now: Timestamp::now().as_second(),
            };
            copying.write(&copy, out)
        }
    }
}

impl Build {
    /// Finds out what is copied, without copying it.
    pub(super) async fn prepare_copy(
        &self,
        copy: &Copy,
        making: &Making<'_>,
        made: &mut Made,
        report: &dyn Report,
    ) -> Result<Prepared, BuildError> {
        let mut copy = copy.clone();
        let mut fetched = None;
        let from = match &copy.from {
            None if copy.sources.iter().any(|source| is_address(source)) => {
                let (files, names, place) = self.fetch(&copy).await?;
                copy.sources = names;
                // It is what it is, and not unpacked, as with Docker.
                copy.is_add = false;
                fetched = Some(place);
                Arc::new(files)
            }
            None if copy.checksum.is_some() => {
                return Err(BuildError::Add(
                    "checksum can't be specified for COPY or for files of the context".to_owned(),
                ));
            }
            None => Arc::clone(&self.context.files),
            Some(Base::Stage(index)) => Arc::new(self.files(Some(&made.stage(*index)?))?),
            Some(Base::Image(name)) => {
                let image = self.image(&name.clone(), None, made, report).await?;
                Arc::new(self.files(Some(&image))?)
            }
            Some(Base::Scratch) => Arc::new(Files::default()),
        };
        // Patterns of the context are none of what was fetched.
        let ignore = match fetched {
            Some(_) => Ignore::default(),
            None => self.ignore.clone(),
        };
        let mut prepared = Prepared {
            copy: Arc::new(copy),
            from,
            below: Arc::new(self.files(making.below.as_ref())?),
            ignore: Arc::new(ignore),
            content: Digest::of(b""),
            place: Arc::new(self.context.place()?),
            _fetched: fetched,
        };
        let (place, copying) = (Arc::clone(&prepared.place), prepared.copying());
        prepared.content = blocking(move || copying(place.path(), &mut io::sink())).await?;
        Ok(prepared)
    }

    /// Fetches what lies at addresses, each file under the last part of its address.
    async fn fetch(&self, copy: &Copy) -> Result<(Files, Vec<String>, TempDir), BuildError> {
        if !copy.sources.iter().all(|source| is_address(source)) || !copy.inline.is_empty() {
            return Err(BuildError::Unsupported(
                "ADD takes either addresses or files of the context, not both at once".to_owned(),
            ));
        }
        let place = self.context.place()?;
        let mut archive = tar::Builder::new(unnamed(place.path())?);
        let mut names = Vec::new();
        for address in &copy.sources {
            let name = file_name(address, &copy.destination)?;
            let remote = registry::remote(address, &self.options.registries).await?;
            let checksum = copy.checksum.clone();
            let (path, member) = (place.path().to_owned(), name.clone());
            archive = blocking(move || {
                let mut archive = archive;
                let mut file = unnamed(&path)?;
                let length = io::copy(&mut remote.take(MAX_REMOTE), &mut file);
                let length = length.map_err(|error| BuildError::Add(error.to_string()))?;
                check(&mut file, checksum.as_deref())?;
                let mut header = tar::Header::new_gnu();
                header.set_size(length);
                header.set_mode(0o600);
                header.set_mtime(0);
                file.seek(SeekFrom::Start(0)).map_err(read_error)?;
                archive
                    .append_data(&mut header, &member, &mut file)
                    .map_err(read_error)?;
                Ok::<_, BuildError>(archive)
            })
            .await?;
            names.push(name);
        }
        let path = place.path().join("files");
        let files = blocking(move || {
            std::fs::create_dir(&path).map_err(read_error)?;
            let mut archive = archive.into_inner().map_err(read_error)?;
            archive.seek(SeekFrom::Start(0)).map_err(read_error)?;
            Files::from_tar(archive, &path)
        });
        Ok((files.await?, names, place))
    }

    /// The layer that has a directory; without members if it is there.
    pub(super) async fn directory(
        &self,
        path: &str,
        making: &Making<'_>,
    ) -> Result<Vec<u8>, BuildError> {
        let (place, path) = (self.context.place()?, path.to_owned());
        let below = self.files(making.below.as_ref())?;
        blocking(move || {
            let copying = Copying {
                from: &Files::default(),
                below: &below,
                ignore: None,
                scratch: place.path(),
                now: Timestamp::now().as_second(),
            };
            let mut layer = Vec::new();
            copying.write_directory(&path, &mut layer)?;
            Ok::<_, CopyError>(layer)
        })
        .await
    }
}

fn is_address(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// What a file from an address is called; a destination that is no directory names it itself.
fn file_name(address: &str, destination: &str) -> Result<String, BuildError> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = path.split_once("://").unwrap_or_default();
    let name = path.split_once('/').map(|(_, path)| path);
    let name = name.and_then(|path| path.rsplit('/').next());
    match name.filter(|name| !matches!(*name, "" | "." | "..")) {
        Some(name) if Path::new(name).extension().is_some_and(|ext| ext == "git") => Err(
            BuildError::Unsupported("ADD of a git repository requires BuildKit".to_owned()),
        ),
        Some(name) => Ok(name.to_owned()),
        None if destination.ends_with('/') => Err(BuildError::Add(format!(
            "cannot determine filename from url: {address}"
        ))),
        None => Ok("file".to_owned()),
    }
}

fn check(file: &mut File, expected: Option<&str>) -> Result<(), BuildError> {
    use sha2::{Digest as _, Sha256};
    let Some(expected) = expected else {
        return Ok(());
    };
    file.seek(SeekFrom::Start(0)).map_err(read_error)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut piece).map_err(read_error)?;
        if count == 0 {
            break;
        }
        hasher.update(piece.get(..count).unwrap_or_default());
    }
    let found = format!("sha256:{}", hex::encode(hasher.finalize()));
    match found == expected {
        true => Ok(()),
        false => Err(BuildError::Add(format!(
            "digest mismatch: expected {expected}, got {found}"
        ))),
    }
}

fn unnamed(place: &Path) -> Result<File, CopyError> {
    tempfile::tempfile_in(place).map_err(read_error)
}

fn read_error(error: io::Error) -> CopyError {
    CopyError::Layer(hull_image::layer::Error::Output(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_an_address_has_a_name() {
        let name = |address: &str| file_name(address, "/to/").ok();
        assert_eq!(name("http://host/a/b.txt?x=/y").as_deref(), Some("b.txt"));
        assert_eq!(name("https://host/"), None);
        assert_eq!(name("https://host"), None);
        assert_eq!(name("https://host/a/.."), None);
        assert_eq!(name("https://host/repository.git"), None);
        assert_eq!(file_name("https://host/", "/to").unwrap(), "file");
    }
}
