"""What finished runs say, rebuilt from run folders at any time.

`runs` reads them · `boards` groups them: data fingerprint and protocol make a board, all options but the seed a row
· `comparisons` tests whether rows differ · `published` what papers print · `sheets` tables of text · `page` one HTML
file · `table` all runs as Parquet or SQLite.
"""
