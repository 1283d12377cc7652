//! The output of `kubectl get -o wide`: the API server's own table, formatted like kubectl. Entry point: [`wide`].

use anyhow::{Context, Result};
use http::Request;
use kube::Client;
use serde::Deserialize;

/// A server-side table (meta.k8s.io/v1 Table).
#[derive(Deserialize)]
struct Table {
    #[serde(rename = "columnDefinitions")]
    columns: Vec<Column>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Deserialize)]
struct Row {
    cells: Vec<serde_json::Value>,
}

/// Returns the table of all objects at an API path. Each name has the prefix `prefix`, as kubectl prints several kinds.
///
/// # Errors
/// Returns an error if the server rejects the request or doesn't return a table.
pub async fn wide(client: &Client, path: &str, prefix: &str) -> Result<String> {
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let request = Request::get(format!("{path}?includeObject=None")).header("Accept", accept);
    let text = client.request_text(request.body(Vec::new())?).await?;
    let table: Table = serde_json::from_str(&text).with_context(|| format!("no table: {text}"))?;
    let mut lines = vec![table.columns.iter().map(|column| column.name.to_uppercase()).collect::<Vec<_>>()];
    for row in &table.rows {
        let mut cells: Vec<String> = row.cells.iter().map(said).collect();
        if let Some(name) = cells.first_mut() {
            name.insert_str(0, prefix);
        }
        lines.push(cells);
    }
    Ok(laid_out(&lines))
}

/// Returns the cells of a picture without the parts that change over time: column widths and ages.
pub fn without_ages(picture: &str) -> Vec<Vec<&str>> {
    let cells =
        |line| str::split(line, "   ").map(str::trim).filter(|cell| !cell.is_empty() && !is_age(cell));
    picture.lines().map(|line| cells(line).collect()).collect()
}

fn said(cell: &serde_json::Value) -> String {
    match cell {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_age(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit())
        && cell.chars().all(|c| c.is_ascii_digit() || "smhd".contains(c))
}

/// Formats columns of at least six characters with three spaces between them.
fn laid_out(lines: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = lines.iter().filter_map(|line| line.get(at));
        cells.map(|cell| cell.chars().count() + 3).max().unwrap_or_default().max(6)
    };
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().enumerate().map(|(at, cell)| format!("{cell:0$}", width(at)));
        format!("{}\n", padded.collect::<String>().trim_end())
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_laid_out_and_ages_do_not_count() {
        let cells = |line: [&str; 3]| line.map(String::from).to_vec();
        let young =
            laid_out(&[cells(["NAME", "AGE", "MESSAGE"]), cells(["vs/a-long-name", "5s", "all is well"])]);
        assert_eq!(young, "NAME             AGE   MESSAGE\nvs/a-long-name   5s    all is well\n");
        let old = laid_out(&[
            cells(["NAME", "AGE", "MESSAGE"]),
            cells(["vs/a-long-name", "121m30s", "all is well"]),
        ]);
        assert_ne!(young, old);
        assert_eq!(without_ages(&young), without_ages(&old));
        let sick = young.replace("well", "lost");
        assert_ne!(without_ages(&young), without_ages(&sick));
    }
}
