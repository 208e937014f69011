module podspan.dev/tests/gofloor

go 1.24
