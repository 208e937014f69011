#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "config.h"
#include "table.h"

static const char help[] = "Usage: podspan config\n"
                           "\n"
                           "Every effective setting and where it came from. A wrong configuration is told with file "
                           "and line, exit code 1.\n"
                           "\n" CLI_OPTIONS_HELP;

static int parse_argv(Cli *cli, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS, {} };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
        }
        if (optind < argc) {
                (void) cli_usage("config takes no argument (\"%s\")", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

static int on_key_json(const char *key, const char *value, const char *origin, void *userdata) {
        Json *json = userdata;

        json_map(json);
        json_pair_str(json, "key", key);
        json_pair_str(json, "value", value);
        json_pair_str(json, "origin", origin);
        json_map_end(json);
        return 0;
}

enum { COLUMN_KEY, COLUMN_VALUE, COLUMN_ORIGIN };

static int on_key_table(const char *key, const char *value, const char *origin, void *userdata) {
        Table *table = userdata;
        bool set = strcmp(origin, "default") != 0;

        table_line(table);
        table_cell(table, COLUMN_KEY, key, set ? SCREEN_BOLD : SCREEN_PLAIN);
        table_cellf(table, COLUMN_VALUE, set ? SCREEN_BOLD : SCREEN_PLAIN, "%s", *value ? value : "\"\"");
        table_cell(table, COLUMN_ORIGIN, origin, SCREEN_DIM);
        return table->error;
}

static CliExit print_json(const Config *config) {
        _cleanup_(json_freep) Json *json = json_new(stdout);
        int r;

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_key(json, "config");
        json_array(json);
        r = config_dump(config, on_key_json, json);
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        json_array_end(json);
        json_map_end(json);
        return cli_finish(json, CLI_OK);
}

static CliExit print_table(const Cli *cli, const Config *config) {
        static const TableColumn columns[] = {
                [COLUMN_KEY] = { "KEY", 32, 0 },
                [COLUMN_VALUE] = { "VALUE", 0.3, SCOLS_FL_WRAP },
                [COLUMN_ORIGIN] = { "ORIGIN", 0.3, 0 },
        };
        _cleanup_(table_deinit) Table table = TABLE_NULL;
        int r;

        r = table_init(&table, &cli->screen, columns, ARRAY_SIZE(columns));
        if (r >= 0)
                r = config_dump(config, on_key_table, &table);
        if (r >= 0)
                r = table_print(&table);
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        return cli_finish(NULL, CLI_OK);
}

CliExit cmd_config(Cli *cli, int argc, char **argv) {
        _cleanup_(config_deinit) Config config = CONFIG_NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        r = parse_argv(cli, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);

        r = config_load(cli->config_file, &config, &message);
        if (r < 0)
                return cli_failure("%s", message ? message : strerror(-r));
        return cli->json ? print_json(&config) : print_table(cli, &config);
}
