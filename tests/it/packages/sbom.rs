//! The list of what is compiled in.

use serde_json::Value;
use skynet_tests::{
    components,
    packages::{Workshop, run},
};
use std::{collections::BTreeSet, fs};

/// Judges a list by the schema, as the project that made it does.
const JUDGE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(found) if found else 0)
";

#[test]
fn it_is_what_cyclonedx_says_a_list_is() {
    let Some(shop) = Workshop::open() else { return };
    let file = shop.make("sbom", "sbom");
    let mut list: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let components = list["components"].as_array().unwrap().clone();
    let known: BTreeSet<&str> = components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(known.len(), components.len(), "each once");
    for dependency in list["dependencies"].as_array().unwrap() {
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(known.contains(on.as_str().unwrap()), "{on}");
        }
    }
    let serde = components.iter().find(|one| one["name"] == "serde").unwrap();
    assert!(serde["purl"].as_str().unwrap().starts_with("pkg:cargo/serde@1."), "{serde}");
    assert_eq!(serde["hashes"][0]["content"].as_str().unwrap().len(), 64);
    let ours = components.iter().find(|one| one["name"] == "skynet-hands").unwrap();
    assert!(ours.get("purl").is_none(), "what no registry has has no name there");

    // The schema takes seconds for hundreds of components that are made alike.
    let some: Vec<Value> = components.iter().step_by(40).cloned().collect();
    list["components"] = Value::Array(some);
    let sample = shop.path("sample.json");
    fs::write(&sample, serde_json::to_vec(&list).unwrap()).unwrap();
    let Some(python) = components::find("packagers", "bin/python") else { return };
    run(python.to_str().unwrap(), &["-c", JUDGE, sample.to_str().unwrap()]);
}
