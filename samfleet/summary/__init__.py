"""From stored candidates to tables: filters, objects, summary. It needs no pixels and no GPU."""
