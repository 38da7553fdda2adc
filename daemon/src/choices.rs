//! Which toolsets users and tokens switched on or off, so that it outlives the daemon.

use skynet_catalog::{Catalog, Choices, Scope};
use skynet_store::{Table, Tables};

/// The stored choices, by scope.
#[derive(Clone)]
pub(crate) struct Stored {
    table: Table<Choices>,
}

impl Stored {
    /// Opens them and tells the catalog.
    pub(crate) fn open(tables: &Tables, catalog: &Catalog) -> anyhow::Result<Self> {
        let table: Table<Choices> = tables.table("toolsets");
        for (key, choices) in table.iter() {
            let Some(scope) = scope(&key) else { continue };
            for (toolset, is_listed) in choices {
                // A toolset that this version does not have any more is no reason not to start.
                if let Err(err) = catalog.choose(scope.clone(), &toolset, is_listed) {
                    tracing::warn!(error = %err, key, "a stored choice of toolsets was passed over");
                }
            }
        }
        Ok(Self { table })
    }

    /// Keeps the choices of one scope; those of a session end with it.
    pub(crate) fn store(&self, scope: &Scope, choices: &Choices) -> Result<(), skynet_store::Error> {
        let Some(key) = key(scope) else { return Ok(()) };
        self.table.put_durably(&key, choices)
    }
}

fn key(scope: &Scope) -> Option<String> {
    match scope {
        Scope::User(uid) => Some(format!("user/{uid}")),
        Scope::Token(id) => Some(format!("token/{id}")),
        Scope::Session(_) => None,
    }
}

fn scope(key: &str) -> Option<Scope> {
    match key.split_once('/')? {
        ("user", uid) => uid.parse().ok().map(Scope::User),
        ("token", id) => Some(Scope::Token(id.to_owned())),
        _ => None,
    }
}
