//! Passwords: argon2id in PHC string format (RFC 9106). CPU only: run it on a bounded pool, before deciding.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use doorward_types::digest::Digest;
use doorward_types::random::{self, Random};
use doorward_types::secret::Secret;

/// The fewest characters of a password (NIST SP 800-63B revision 3 §5.1.1.1). Length counts, composition
/// rules do not.
pub const MIN_CHARACTERS: usize = 8;
/// The most bytes of a password. Longer ones are refused, not cut.
pub const MAX_BYTES: usize = 1024;

/// Hashed when there is nothing to compare with, so that an unknown name takes as long as a wrong password.
/// Same parameters as [`hash`] gives; nobody knows a password for it.
const DUMMY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$ZG9vcndhcmQgZHVtbXkgMQ$DUMMYDUMMYDUMMYDUMMYDUMMYDUMMYDUMMYDUMMYDUM";

/// Why a password is not accepted as a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// Shorter than [`MIN_CHARACTERS`].
    #[error("Use at least 8 characters. A few words in a row are easy to remember and hard to guess.")]
    TooShort,
    /// Longer than [`MAX_BYTES`].
    #[error("Use at most 1024 bytes.")]
    TooLong,
    /// It is (nearly) the user name.
    #[error("Do not use your user name as the password.")]
    IsUsername,
    /// One character again and again.
    #[error("Use more than one different character.")]
    Monotonous,
}

/// The hash could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct NotHashed;

/// Proof that a password matched a stored hash. Only [`verify`] makes one, and it names the hash, so that
/// it is worth nothing once the password was changed.
#[derive(Clone, Copy, Debug)]
pub struct PasswordProof(Digest);

impl PasswordProof {
    /// Whether it was `stored` that matched.
    #[must_use]
    pub fn is_for(&self, stored: Option<&str>) -> bool {
        stored.is_some_and(|stored| Digest::of(stored.as_bytes()) == self.0)
    }
}

/// Judges a new password.
pub fn check(password: &Secret, username: &str) -> Result<(), PasswordProblem> {
    let text = password.expose();
    if text.chars().count() < MIN_CHARACTERS {
        return Err(PasswordProblem::TooShort);
    }
    if text.len() > MAX_BYTES {
        return Err(PasswordProblem::TooLong);
    }
    if text.to_lowercase().trim() == username {
        return Err(PasswordProblem::IsUsername);
    }
    let mut characters = text.chars();
    let first = characters.next();
    if characters.all(|c| Some(c) == first) {
        return Err(PasswordProblem::Monotonous);
    }
    Ok(())
}

/// Hashes a password with a fresh salt: 19 MiB, 2 passes, 1 lane (the OWASP minimum for argon2id).
pub fn hash(password: &Secret, random: &dyn Random) -> Result<String, NotHashed> {
    let salt: [u8; 16] = random::bytes(random);
    let argon2 = Argon2::default();
    let output = output(
        &argon2,
        password.expose().as_bytes(),
        &salt,
        Params::DEFAULT_OUTPUT_LEN,
    )
    .ok_or(NotHashed)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params()).map_err(|_| NotHashed)?,
        salt: Some(Salt::new(&salt).map_err(|_| NotHashed)?),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

/// Compares a password with a stored hash; without one it does the same work and fails.
#[must_use]
pub fn verify(stored: Option<&str>, password: &Secret) -> Option<PasswordProof> {
    // Cut and not refused early: the time must not tell whether the name exists.
    let bytes = password.expose().as_bytes();
    let within = bytes.get(..MAX_BYTES).unwrap_or(bytes);
    let parsed = PasswordHash::new(stored.unwrap_or(DUMMY)).ok()?;
    let matches = matches(&parsed, within).unwrap_or(false);
    let stored = stored.filter(|_| matches && within.len() == bytes.len())?;
    Some(PasswordProof(Digest::of(stored.as_bytes())))
}

fn matches(stored: &PasswordHash, password: &[u8]) -> Option<bool> {
    let algorithm = Algorithm::try_from(stored.algorithm.as_str()).ok()?;
    let version = Version::try_from(stored.version?).ok()?;
    let argon2 = Argon2::new(algorithm, version, Params::try_from(stored).ok()?);
    let (salt, expected) = (stored.salt?, stored.hash?);
    let output = output(&argon2, password, &salt, expected.len())?;
    // `Output` compares in constant time.
    Some(output == expected)
}

/// Room for so many blocks of 1 KiB is asked for, although fewer are used and so become real memory. glibc
/// serves up to 32 MiB from its heaps once such blocks come and go, and then hardly ever gives them back: a
/// morning of sign-ins would cost hundreds of MiB until the next restart. What is larger is mapped, and
/// unmapped when it is freed.
const RESERVED_BLOCKS: usize = 33 * 1024;

fn output(argon2: &Argon2<'_>, password: &[u8], salt: &[u8], length: usize) -> Option<Output> {
    let blocks = argon2.params().block_count();
    let mut memory = Vec::new();
    memory.try_reserve_exact(blocks.max(RESERVED_BLOCKS)).ok()?;
    memory.resize(blocks, Block::new());
    let mut buffer = [0; Output::MAX_LENGTH];
    let out = buffer.get_mut(..length)?;
    argon2
        .hash_password_into_with_memory(password, salt, out, memory.as_mut_slice())
        .ok()?;
    Output::new(out).ok()
}

#[cfg(test)]
mod tests {
    use doorward_types::random::CountingRandom;

    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let random = CountingRandom::default();
        let (right, wrong) = (Secret::new("correct horse"), Secret::new("Correct horse"));
        let stored = hash(&right, &random).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, hash(&right, &random).unwrap(), "the salt differs");
        let proof = verify(Some(&stored), &right).unwrap();
        assert!(proof.is_for(Some(&stored)) && !proof.is_for(None) && !proof.is_for(Some("x")));
        assert!(verify(Some(&stored), &wrong).is_none());
        assert!(verify(None, &right).is_none() && verify(Some("nonsense"), &right).is_none());
    }

    #[test]
    fn hashes_are_what_every_argon2_makes_and_takes() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let (argon2, password) = (Argon2::default(), Secret::new("correct horse"));
        let theirs: PasswordHash = argon2
            .hash_password_with_salt(b"correct horse", &[7; 16])
            .unwrap();
        assert!(verify(Some(&theirs.to_string()), &password).is_some());
        let ours = hash(&password, &CountingRandom::default()).unwrap();
        argon2
            .verify_password(b"correct horse", &PasswordHash::new(&ours).unwrap())
            .unwrap();
    }

    #[test]
    fn the_dummy_costs_what_a_real_hash_costs() {
        let dummy = PasswordHash::new(DUMMY).unwrap();
        let real = hash(&Secret::new("x"), &CountingRandom::default()).unwrap();
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!(dummy.algorithm, real.algorithm);
        assert_eq!(dummy.version, real.version);
        assert_eq!(dummy.params.to_string(), real.params.to_string());
        assert_eq!(
            dummy.hash.map(|hash| hash.len()),
            real.hash.map(|hash| hash.len())
        );
    }

    #[test]
    fn long_passwords_are_not_cut() {
        let random = CountingRandom::default();
        let stored = hash(&Secret::new("a".repeat(MAX_BYTES)), &random).unwrap();
        assert!(verify(Some(&stored), &Secret::new("a".repeat(MAX_BYTES))).is_some());
        assert!(verify(Some(&stored), &Secret::new("a".repeat(MAX_BYTES + 1))).is_none());
    }

    #[test]
    fn new_passwords_are_judged() {
        for (password, verdict) in [
            ("1234567", Err(PasswordProblem::TooShort)),
            ("ééééééé", Err(PasswordProblem::TooShort)),
            ("aaaaaaaa", Err(PasswordProblem::Monotonous)),
            ("AliceAlice", Err(PasswordProblem::IsUsername)),
            ("four words in row", Ok(())),
            ("éèêëēėęə", Ok(())),
        ] {
            assert_eq!(check(&Secret::new(password), "alicealice"), verdict, "{password}");
        }
        assert_eq!(
            check(&Secret::new("ab".repeat(600)), "x"),
            Err(PasswordProblem::TooLong)
        );
    }
}
