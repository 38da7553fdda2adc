//! What the book tells to be written into a configuration.

use skynet_tests::programs::Home;

/// How a recipe for a daemon of a whole host begins.
const OF_A_HOST: &str = "# /etc/skynet/config.toml\n";

#[test]
fn every_recipe_is_a_configuration_that_can_be_used() {
    let home = Home::new();
    for page in [
        include_str!("../../docs/policy-cookbook.md"),
        include_str!("../../docs/fr/recettes.md"),
        include_str!("../../docs/operations.md"),
    ] {
        let recipes = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let mut count = 0;
        for recipe in recipes {
            home.configure(recipe);
            let mut command = home.command("skynetd");
            command.arg("--config").arg(home.path.join(".config/skynet/config.toml"));
            if recipe.starts_with(OF_A_HOST) {
                command.arg("--system");
            }
            let output = command.args(["config", "check"]).output().unwrap();
            assert!(output.status.success(), "{recipe}{}", String::from_utf8_lossy(&output.stderr));
            count += 1;
        }
        assert!(count > 0, "a page without recipes");
    }
}
