//! Keys that are a name, or a table with a name and what it takes besides.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

/// Reads `"sgd"` as `{ name = "sgd" }`, so that `T` has to know tables alone.
///
/// # Errors
/// Those of `T`: an unknown name with those that there are, an unknown key likewise.
pub(super) fn named<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    let table = match toml::Value::deserialize(deserializer)? {
        toml::Value::Table(table) => table,
        name @ toml::Value::String(_) => toml::Table::from_iter([("name".to_owned(), name)]),
        other => {
            let found = other.type_str();
            let words = format!("found {found} in place of a name, or a table with a name");
            return Err(D::Error::custom(words));
        }
    };
    table.try_into().map_err(|error: toml::de::Error| D::Error::custom(error.message()))
}
