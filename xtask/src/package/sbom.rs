//! What is compiled in, for those who look for what has holes: a list as CycloneDX 1.6 has it
//! (<https://cyclonedx.org/docs/1.6/json/>).

use super::{
    Material, SUMMARY, VERSION,
    copyright::spdx,
    crates::Crate,
    image::{hex, moment},
};
use crate::{build, shell};
use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;

/// The product's own reference in the list.
const PRODUCT: &str = "skynet";

/// Makes it; says where it is.
pub(crate) fn make(material: &Material) -> Result<()> {
    let crates = &material.crates.0;
    let components: Vec<Value> = crates.iter().map(component).collect();
    let programs: Vec<String> = crates
        .iter()
        .filter(|one| one.is_ours() && build::PROGRAMS.contains(&one.name.as_str()))
        .map(Crate::key)
        .collect();
    let mut dependencies = vec![json!({ "ref": PRODUCT, "dependsOn": programs })];
    dependencies.extend(crates.iter().map(|one| json!({ "ref": one.key(), "dependsOn": one.uses })));
    let mut list = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": moment(material)?,
            "component": {
                "type": "application",
                "bom-ref": PRODUCT,
                "name": PRODUCT,
                "version": VERSION,
                "description": SUMMARY,
                "licenses": [{ "expression": "MIT" }],
            },
            "tools": { "components": [{ "type": "application", "name": "cargo xtask package sbom", "version": VERSION }] },
        },
        "components": components,
        "dependencies": dependencies,
    });
    // The same list has the same number.
    list["serialNumber"] = json!(format!("urn:uuid:{}", number(&serde_json::to_vec(&list)?)));
    let file = material.out.join(format!("skynet_{VERSION}_{}.cdx.json", super::deb::architecture()));
    fs::write(&file, serde_json::to_vec_pretty(&list)?)?;
    shell::step(&format!("made {}", file.display()));
    Ok(())
}

fn component(one: &Crate) -> Value {
    let mut found = json!({
        "type": "library",
        "bom-ref": one.key(),
        "name": one.name,
        "version": one.version,
        "licenses": [{ "expression": spdx(&one.licence) }],
    });
    // What the registry does not have has no name there.
    if let Some(checksum) = &one.checksum {
        found["purl"] = json!(format!("pkg:cargo/{}@{}", one.name, one.version.replace('+', "%2B")));
        found["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &one.repository {
        found["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    found
}

/// A UUID of the kind that says nothing of how it was made (RFC 9562, version 8), from what it is of.
fn number(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let mut bytes: Vec<u8> = hash.iter().copied().take(16).collect();
    for (index, keep, set) in [(6, 0x0f, 0x80), (8, 0x3f, 0x80)] {
        if let Some(byte) = bytes.get_mut(index) {
            *byte = *byte & keep | set;
        }
    }
    let text = hex(&bytes);
    let mut parts = Vec::new();
    let mut rest = text.as_str();
    for length in [8, 4, 4, 4] {
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_number_of_its_own() {
        assert_eq!(number(b"a"), number(b"a"));
        assert_ne!(number(b"a"), number(b"b"));
        let number = number(b"a");
        assert_eq!(number.len(), 36);
        assert_eq!(number.as_bytes()[14], b'8');
    }
}
