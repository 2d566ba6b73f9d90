"""What an SQL text is and whether it may be replicated: `query_parser.parse` looks at the text alone, `schema_judge.judge` at
what only the schema tells. Pure."""
