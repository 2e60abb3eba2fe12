//! The key under which the records of a store are sealed.

use doorward_seal::MasterKey;
use doorward_types::random::Random;
use doorward_types::secret::Secret;

use super::folder::Folder;
use super::record::Name;
use super::{Done, StoreError};

const FILE: &str = "store.key";

/// Where the key lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySource {
    /// In the folder, as `store.key`.
    #[default]
    File,
    /// In the keychain of the system, one key for each folder. The tokens stay in the folder: keychains bound the size of an
    /// entry, and ask their user for each.
    #[cfg(feature = "keychain")]
    Keychain,
}

/// Reads the key, or makes one for a folder without records.
pub(super) fn load(folder: &Folder, source: KeySource, random: &dyn Random) -> Done<MasterKey> {
    match source {
        KeySource::File => from_file(folder, random),
        #[cfg(feature = "keychain")]
        KeySource::Keychain => from_keychain(folder, random),
    }
}

fn from_file(folder: &Folder, random: &dyn Random) -> Done<MasterKey> {
    if let Some(key) = read(folder)? {
        return Ok(key);
    }
    // Two copies start in a new folder: one of them makes the key.
    let _held = folder.hold()?;
    if let Some(key) = read(folder)? {
        return Ok(key);
    }
    refuse_orphans(folder)?;
    let key = MasterKey::generate(random);
    folder.replace(FILE, key.to_text().expose().as_bytes())?;
    Ok(key)
}

fn read(folder: &Folder) -> Done<Option<MasterKey>> {
    let Some(bytes) = folder.read(FILE)? else {
        return Ok(None);
    };
    let damaged = || StoreError::KeyDamaged(folder.path().join(FILE));
    let text = Secret::new(String::from_utf8(bytes).map_err(|_| damaged())?);
    MasterKey::parse(text.expose()).map(Some).map_err(|_| damaged())
}

/// A new key could not open them.
fn refuse_orphans(folder: &Folder) -> Done {
    if folder.names()?.iter().any(|name| Name::is_one(name)) {
        return Err(StoreError::KeyMissing(folder.path().into()));
    }
    Ok(())
}

#[cfg(feature = "keychain")]
fn from_keychain(folder: &Folder, random: &dyn Random) -> Done<MasterKey> {
    let _held = folder.hold()?;
    let failed = |error: keyring::Error| StoreError::Keychain(error.to_string());
    let path = std::fs::canonicalize(folder.path()).map_err(|why| StoreError::Inaccessible {
        path: folder.path().into(),
        why,
    })?;
    let entry = keyring::Entry::new("doorward", &path.to_string_lossy()).map_err(failed)?;
    match entry.get_password() {
        Ok(text) => {
            let text = Secret::new(text);
            MasterKey::parse(text.expose())
                .map_err(|_| StoreError::Keychain("its entry for this folder is not a key".to_owned()))
        }
        Err(keyring::Error::NoEntry) => {
            refuse_orphans(folder)?;
            let key = MasterKey::generate(random);
            entry.set_password(key.to_text().expose()).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}
