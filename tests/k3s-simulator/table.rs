//! Objects in the form that was asked for: as they are, as metadata, or as rows of a table.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::clock::{self, Moment};
use crate::object;
use crate::request::{Form, Include};
use crate::resources::Resource;

mod cells;

/// One object on its own: the answer to a GET, or the object of a watch event.
pub(crate) fn shown(resource: &Resource, form: &Form, object: &Value, now: Moment) -> Value {
    match form {
        Form::Plain => object.clone(),
        Form::Table { version, include } => {
            let rows = [row(resource, object, version, *include, now)];
            table(
                resource,
                version,
                &rows,
                object::text(object, "/metadata/resourceVersion"),
            )
        }
        Form::Metadata { version } => metadata_only(object, version),
    }
}

pub(crate) fn list(
    resource: &Resource,
    form: &Form,
    objects: &[Arc<Value>],
    resource_version: &str,
    now: Moment,
) -> Value {
    let list = |kind: &str, api_version: &str, items: Vec<Value>| json!({"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": resource_version}, "items": items});
    match form {
        Form::Plain => {
            let items = objects.iter().map(|object| (**object).clone()).collect();
            list(
                &format!("{}List", resource.kind),
                &resource.api_version(),
                items,
            )
        }
        Form::Table { version, include } => {
            let rows: Vec<_> = objects
                .iter()
                .map(|object| row(resource, object, version, *include, now))
                .collect();
            table(resource, version, &rows, resource_version)
        }
        Form::Metadata { version } => {
            let items = objects
                .iter()
                .map(|object| metadata_only(object, version))
                .collect();
            list(
                "PartialObjectMetadataList",
                &format!("meta.k8s.io/{version}"),
                items,
            )
        }
    }
}

fn metadata_only(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get("metadata"),
    })
}

fn table(resource: &Resource, version: &str, rows: &[Value], resource_version: &str) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": {"resourceVersion": resource_version},
        "columnDefinitions": columns(resource),
        "rows": rows,
    })
}

fn row(resource: &Resource, object: &Value, version: &str, include: Include, now: Moment) -> Value {
    let cells = if is_generic(resource) {
        custom_cells(resource, object, now)
    } else {
        cells::cells(&resource.id(), object, now)
    };
    let mut row = json!({"cells": cells});
    match include {
        Include::Nothing => {}
        Include::Metadata => row["object"] = metadata_only(object, version),
        Include::Object => row["object"] = object.clone(),
    }
    row
}

fn columns(resource: &Resource) -> Vec<Value> {
    let column = |name: &str, kind: &str, is_wide: bool| {
        json!({
            "name": name,
            "type": kind,
            "format": if name == "Name" { "name" } else { "" },
            "description": "",
            "priority": i32::from(is_wide),
        })
    };
    if is_generic(resource) {
        let mut columns = vec![column("Name", "string", false)];
        for printed in &resource.printer_columns {
            let is_wide = object::number(printed, "/priority").unwrap_or(0) > 0;
            columns.push(column(
                object::text(printed, "/name"),
                object::text(printed, "/type"),
                is_wide,
            ));
        }
        if !has_age_column(resource) {
            columns.push(column("Age", "date", false));
        }
        return columns;
    }
    cells::columns(&resource.id())
        .iter()
        .map(|&(name, kind, is_wide)| column(name, kind, is_wide))
        .collect()
}

fn is_generic(resource: &Resource) -> bool {
    !resource.printer_columns.is_empty()
}

fn has_age_column(resource: &Resource) -> bool {
    resource
        .printer_columns
        .iter()
        .any(|column| object::text(column, "/name") == "Age")
}

/// The columns that a definition asks for, as far as their paths are plain field names.
fn custom_cells(resource: &Resource, object: &Value, now: Moment) -> Vec<Value> {
    let mut cells = vec![json!(object::name(object))];
    for printed in &resource.printer_columns {
        let pointer = object::text(printed, "/jsonPath").replace('.', "/");
        let value = object.pointer(&pointer).cloned().unwrap_or(Value::Null);
        cells.push(match (object::text(printed, "/type"), value.as_str()) {
            ("date", Some(at)) => json!(age_since(at, now)),
            _ => value,
        });
    }
    if !has_age_column(resource) {
        cells.push(json!(age(object, now)));
    }
    cells
}

fn age(object: &Value, now: Moment) -> String {
    age_since(object::text(object, "/metadata/creationTimestamp"), now)
}

fn age_since(timestamp: &str, now: Moment) -> String {
    let Some(then) = clock::parse_rfc3339(timestamp) else {
        return "<unknown>".to_owned();
    };
    let wall = now
        .wall
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    clock::short_age(Duration::from_secs(wall.saturating_sub(then)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use crate::store::Store;

    const NOW: Moment = Moment {
        uptime: Duration::ZERO,
        wall: UNIX_EPOCH,
    };

    #[test]
    fn every_built_in_kind_has_a_cell_for_each_column() {
        for resource in resources::all(&Store::new(0, 1)) {
            let table = shown(
                &resource,
                &Form::Table {
                    version: "v1".to_owned(),
                    include: Include::Metadata,
                },
                &json!({"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"}}),
                NOW,
            );
            let columns = table["columnDefinitions"].as_array().unwrap();
            assert_eq!(
                columns[0]["name"],
                if resource.plural == "events" {
                    "Last Seen"
                } else {
                    "Name"
                }
            );
            assert_eq!(
                columns.len(),
                table["rows"][0]["cells"].as_array().unwrap().len(),
                "{}",
                resource.plural
            );
        }
    }

    #[test]
    fn a_definition_may_choose_its_columns() {
        let mut resource = resources::find(&Store::new(0, 1), "", "v1", "configmaps").unwrap();
        resource.printer_columns = vec![
            json!({"name": "Size", "type": "integer", "jsonPath": ".spec.size"}),
            json!({"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"}),
        ];
        let form = Form::Table {
            version: "v1".to_owned(),
            include: Include::Nothing,
        };
        let object = json!({"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"size": 3}});
        let table = shown(&resource, &form, &object, NOW);
        assert_eq!(table["rows"][0], json!({"cells": ["x", 3, "0s", "0s"]}));
    }
}
