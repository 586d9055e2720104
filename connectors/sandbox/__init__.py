"""The generated shop, served over HTTP as real systems would be: a web shop, tills, and an ERP that takes orders."""
