//! Notes: in memory, per owner, bounded.
//!
//! A note holds at most [`MAX_NOTE_BYTES`], an owner at most [`MAX_NOTES_PER_OWNER`] notes, and all owners
//! together [`MAX_NOTES`], which is about 10 MB. Nothing is written to disk; a restart forgets everything.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;

/// Longest text of a note, in bytes of UTF-8.
pub const MAX_NOTE_BYTES: usize = 2_000;
/// Most notes of one owner.
pub const MAX_NOTES_PER_OWNER: usize = 100;
/// Most notes of all owners together.
pub const MAX_NOTES: usize = 5_000;

/// Whose notes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The user with this id.
    User(String),
    /// Everybody of whom nothing is known.
    Unknown,
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Note {
    /// The number to read or delete it by. Numbers are never used twice.
    #[schemars(transform = without_format)]
    pub id: u64,
    /// Its text.
    pub text: String,
}

/// Takes out `format: uint64`, which JSON Schema does not know: clients warn their users about it.
pub(crate) fn without_format(schema: &mut schemars::Schema) {
    schema.remove("format");
}

/// Why a note was not added, read or deleted. The texts go to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The owner has no note of that number. Somebody else's note is told no differently.
    #[error("You have no note {0}. list_notes shows the ones you have.")]
    Unknown(u64),
    /// The text is longer than [`MAX_NOTE_BYTES`].
    #[error("A note holds at most {MAX_NOTE_BYTES} bytes; this text has {0}. Shorten it.")]
    TooLong(usize),
    /// The owner has [`MAX_NOTES_PER_OWNER`] notes.
    #[error("You have {MAX_NOTES_PER_OWNER} notes, the most one user can keep. Delete one first.")]
    OwnerFull,
    /// There are [`MAX_NOTES`] notes.
    #[error("This demo server holds no more notes for now. Delete one of yours, or try again later.")]
    ServerFull,
}

/// Everybody's notes.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Shelves>);

#[derive(Debug, Default)]
struct Shelves {
    last_id: u64,
    total: usize,
    by_owner: HashMap<Owner, BTreeMap<u64, String>>,
}

impl Notes {
    /// The owner's notes, oldest first.
    #[must_use]
    pub fn list(&self, owner: &Owner) -> Vec<Note> {
        let shelves = self.shelves();
        let notes = shelves.by_owner.get(owner).into_iter().flatten();
        notes
            .map(|(id, text)| Note {
                id: *id,
                text: text.clone(),
            })
            .collect()
    }

    /// The owner's note `id`.
    ///
    /// # Errors
    /// [`NoteError::Unknown`].
    pub fn read(&self, owner: &Owner, id: u64) -> Result<Note, NoteError> {
        let shelves = self.shelves();
        let text = shelves.by_owner.get(owner).and_then(|notes| notes.get(&id));
        text.map(|text| Note {
            id,
            text: text.clone(),
        })
        .ok_or(NoteError::Unknown(id))
    }

    /// Keeps `text` for the owner and gives it a number.
    ///
    /// # Errors
    /// [`NoteError::TooLong`], [`NoteError::OwnerFull`], [`NoteError::ServerFull`].
    pub fn add(&self, owner: &Owner, text: String) -> Result<Note, NoteError> {
        if text.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong(text.len()));
        }
        let mut shelves = self.shelves();
        if shelves
            .by_owner
            .get(owner)
            .is_some_and(|notes| notes.len() >= MAX_NOTES_PER_OWNER)
        {
            return Err(NoteError::OwnerFull);
        }
        if shelves.total >= MAX_NOTES {
            return Err(NoteError::ServerFull);
        }
        shelves.total += 1;
        shelves.last_id += 1;
        let id = shelves.last_id;
        shelves
            .by_owner
            .entry(owner.clone())
            .or_default()
            .insert(id, text.clone());
        Ok(Note { id, text })
    }

    /// Forgets the owner's note `id`.
    ///
    /// # Errors
    /// [`NoteError::Unknown`].
    pub fn delete(&self, owner: &Owner, id: u64) -> Result<(), NoteError> {
        let mut shelves = self.shelves();
        let notes = shelves.by_owner.get_mut(owner).ok_or(NoteError::Unknown(id))?;
        notes.remove(&id).ok_or(NoteError::Unknown(id))?;
        if notes.is_empty() {
            shelves.by_owner.remove(owner);
        }
        shelves.total -= 1;
        Ok(())
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // Nothing between taking and releasing the lock can leave the shelves half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Owner {
        Owner::User(name.to_owned())
    }

    #[test]
    fn notes_belong_to_one_owner() {
        let notes = Notes::default();
        let first = notes.add(&user("alice"), "milk".to_owned()).unwrap();
        assert_eq!(notes.read(&user("alice"), first.id), Ok(first.clone()));
        assert_eq!(
            notes.read(&user("bob"), first.id),
            Err(NoteError::Unknown(first.id))
        );
        assert_eq!(
            notes.delete(&user("bob"), first.id),
            Err(NoteError::Unknown(first.id))
        );
        assert_eq!(notes.list(&Owner::Unknown), []);
        assert_eq!(notes.list(&user("alice")), [first]);
    }

    #[test]
    fn a_number_is_never_used_twice() {
        let notes = Notes::default();
        let first = notes.add(&user("alice"), "milk".to_owned()).unwrap();
        notes.delete(&user("alice"), first.id).unwrap();
        let second = notes.add(&user("alice"), "eggs".to_owned()).unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(
            notes.delete(&user("alice"), first.id),
            Err(NoteError::Unknown(first.id))
        );
    }

    #[test]
    fn notes_are_bounded_per_text_per_owner_and_in_total() {
        let notes = Notes::default();
        let long = "x".repeat(MAX_NOTE_BYTES + 1);
        assert_eq!(
            notes.add(&user("0"), long),
            Err(NoteError::TooLong(MAX_NOTE_BYTES + 1))
        );
        for owner in 0..MAX_NOTES / MAX_NOTES_PER_OWNER {
            for _ in 0..MAX_NOTES_PER_OWNER {
                notes.add(&user(&owner.to_string()), "x".to_owned()).unwrap();
            }
        }
        assert_eq!(notes.add(&user("0"), "x".to_owned()), Err(NoteError::OwnerFull));
        assert_eq!(
            notes.add(&user("late"), "x".to_owned()),
            Err(NoteError::ServerFull)
        );
        let one = notes.list(&user("0"))[0].id;
        notes.delete(&user("0"), one).unwrap();
        assert!(notes.add(&user("late"), "x".to_owned()).is_ok());
    }
}
