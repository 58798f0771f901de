"""What people see: foreign text is escaped, secrets are redacted."""
