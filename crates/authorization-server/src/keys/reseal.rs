//! The same secrets under another master key.

use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
use doorward_records::key::StoredKey;
use doorward_records::{Precondition, Unit, Write};
use doorward_seal::{MasterKey, Purpose, Sealer};
use doorward_types::random::Random;

use super::{KeyError, associated, record};
use crate::{passkey, second_factor};

/// The unit that seals everything that is sealed at rest under `new`. Nobody may write sealed rows meanwhile.
pub fn reseal(
    keys: &[StoredKey],
    authenticators: &[Authenticator],
    old: &MasterKey,
    new: &MasterKey,
    random: &dyn Random,
) -> Result<Unit, KeyError> {
    let (from, to) = (
        Sealer::new(old, Purpose::StoredKey),
        Sealer::new(new, Purpose::StoredKey),
    );
    let mut unit = Unit::default();
    for key in keys {
        let (record, associated) = (record(&key.tenant, &key.id), associated(key.purpose));
        let secret = from.open(&record, associated, &key.sealed)?;
        let sealed = to.seal(&record, associated, &secret, random)?;
        unit = unit
            .given(Precondition::KeyHasState(key.id.clone(), key.state))
            .then(Write::ReplaceSealed(key.id.clone(), sealed));
    }
    let (from, to) = (
        Sealer::new(old, Purpose::Authenticator),
        Sealer::new(new, Purpose::Authenticator),
    );
    for row in authenticators {
        let associated = match row.kind {
            AuthenticatorKind::Passkey => passkey::ASSOCIATED,
            AuthenticatorKind::Totp => second_factor::TOTP,
            // Its digest is all there is.
            AuthenticatorKind::RecoveryCode => continue,
        };
        let record = Authenticator::record(&row.tenant, row.user, row.id);
        let secret = from.open(&record, associated, &row.sealed)?;
        let mut resealed = row.clone();
        resealed.sealed = to.seal(&record, associated, &secret, random)?;
        unit = unit
            .given(Precondition::AuthenticatorIs(row.clone()))
            .then(Write::UpdateAuthenticator(resealed));
    }
    Ok(unit)
}
