"""One script per question, all on one harness. See README.md for what they found."""
