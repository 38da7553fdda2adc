//! Skills that come with the daemon: how to work with it well (MCP extension SEP-2640).

use rmcp::model::{Resource, ResourceContents, Skill, SkillFrontmatter, SkillResource, SkillResources};

const MEDIA_TYPE: &str = "text/markdown";

/// Name, URI, and the whole file.
const SKILLS: [(&str, &str, &str); 3] = [
    ("editing-files", "skill://skynet/editing-files/SKILL.md", include_str!("skills/editing-files/SKILL.md")),
    (
        "working-with-git",
        "skill://skynet/working-with-git/SKILL.md",
        include_str!("skills/working-with-git/SKILL.md"),
    ),
    (
        "diagnosing-a-host",
        "skill://skynet/diagnosing-a-host/SKILL.md",
        include_str!("skills/diagnosing-a-host/SKILL.md"),
    ),
];

/// All of them.
pub(super) fn all() -> Vec<Skill> {
    let skill = |(name, uri, text): &(&str, &str, &str)| {
        let file = SkillResource::from_bytes(*uri, text.as_bytes());
        let front = SkillFrontmatter::new(*name, description(text));
        Skill::new(*uri, front, SkillResources::Files(vec![file]))
    };
    SKILLS.iter().map(skill).collect()
}

/// The same as resources.
pub(super) fn resources() -> Vec<Resource> {
    let resource = |(name, uri, text): &(&str, &str, &str)| {
        Resource::new(*uri, *name)
            .with_title(format!("Skill: {}", name.replace('-', " ")))
            .with_description(description(text))
            .with_mime_type(MEDIA_TYPE)
            .with_size(text.len() as u64)
    };
    SKILLS.iter().map(resource).collect()
}

/// The file of that URI.
pub(super) fn read(uri: &str) -> Option<ResourceContents> {
    let (_, uri, text) = SKILLS.iter().find(|(_, known, _)| *known == uri)?;
    Some(ResourceContents::text(*text, *uri).with_mime_type(MEDIA_TYPE))
}

/// What the front matter says it is for.
fn description(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("description: ")).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_what_is_listed() {
        for (name, uri, text) in SKILLS {
            assert!(text.starts_with(&format!("---\nname: {name}\ndescription: ")), "{name}");
            assert!(description(text).len() > 40 && uri.ends_with(&format!("/{name}/SKILL.md")), "{name}");
        }
    }
}
