"""From stored candidates to tables: filters, objects, summary. No pixels and no GPU."""
