//! Lists that are read page by page, and whole as earlier clients read them.

use super::*;

const LISTS: [&str; 3] = ["/api/workers", "/api/admin/tokens", "/api/users"];

impl Forge {
    /// Five workers, five tokens and five accounts.
    async fn with_five_of_each() -> Self {
        let forge = Self::start().await;
        for id in ["e", "b", "d", "a", "c"] {
            forge.register(id, "work").await;
        }
        for id in ["a", "b", "c", "d"] {
            forge.token(json!({"name": id, "scopes": ["submit"]})).await;
        }
        forge
    }
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn tokens_users_and_workers_come_whole_or_page_by_page() {
    let forge = Forge::with_five_of_each().await;
    for path in LISTS {
        let whole = forge.get(path).await.ok();
        assert_eq!(ids(&whole).len(), 5, "{path}: {whole}");
        assert_eq!(ids(&forge.get(&format!("{path}?limit=2")).await.ok()), ids(&whole)[..2], "{path}");
        let (mut cursor, mut pages) = (String::new(), Vec::new());
        loop {
            let page = forge.get(&format!("{path}?limit=2&cursor={cursor}")).await.ok();
            pages.push(ids(&page["items"]));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = next.to_owned();
        }
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1], "{path}");
        assert_eq!(pages.concat(), ids(&whole), "{path}");
        for (bad, field) in [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit")] {
            let reply = forge.get(&format!("{path}?{bad}")).await;
            reply.refused(400, "invalid_parameter");
            assert_eq!(reply.body["field"], field, "{path}?{bad}");
        }
    }
    for path in ["/api/admin/tokens", "/api/admin/users"] {
        for bad in ["x", "7", "x-admin"] {
            forge.get(&format!("{path}?cursor={bad}")).await.refused(400, "invalid_parameter");
        }
    }
}

#[tokio::test]
async fn what_goes_between_two_pages_moves_no_other() {
    let forge = Forge::with_five_of_each().await;
    let before = ids(&forge.get("/api/admin/tokens").await.ok());
    let page = forge.get("/api/admin/tokens?limit=2&cursor=").await.ok();
    // The very token after which the next page begins.
    forge.delete(&format!("/api/admin/tokens/{}", before[1])).await.ok();
    let next = page["next_cursor"].as_str().unwrap();
    let page = forge.get(&format!("/api/admin/tokens?limit=2&cursor={next}")).await.ok();
    assert_eq!(ids(&page["items"]), before[2..4]);
}
