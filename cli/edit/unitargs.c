#include <errno.h>
#include <string.h>
#include "unitargs.h"
#include "unittext.h"

#define SOURCE_COMMAND 0 /* an argument of ExecStart= itself; otherwise a variable's number + 1 */

typedef struct UnitVariable {
        char *name;
        UnitText value;
        bool from_file;
} UnitVariable;

typedef struct UnitWord {
        UnitText text;
        unsigned source;
        bool ends; /* nothing behind it belongs to it: the last of its command, or of its variable */
} UnitWord;

typedef struct UnitProblem {
        UnitText text;
        const char *what;
        bool any; /* it may hide any flag */
} UnitProblem;

struct UnitArgs {
        UnitWord *command; /* as ExecStart= has it; the program first */
        size_t n_command;
        bool literal; /* no variable is replaced */
        UnitVariable *variables;
        size_t n_variables;
        char *files[UNITARGS_FILES_MAX];
        size_t n_files;
        UnitWord *words; /* the command line */
        size_t n_words;
        size_t n_maybe; /* the first ones: what a wrapper may pass on */
        size_t n_chars;
        UnitProblem *problems;
        size_t n_problems;
};

static void words_free(UnitWord *words, size_t n) {
        for (size_t i = 0; i < n; i++)
                unittext_deinit(&words[i].text);
        free(words);
}

static void reset_command(UnitArgs *args) {
        words_free(args->command, args->n_command);
        args->command = NULL;
        args->n_command = 0;
        args->literal = false;
}

static void reset_files(UnitArgs *args) {
        for (size_t i = 0; i < args->n_files; i++)
                free(args->files[i]);
        args->n_files = 0;
}

static void reset_variables(UnitArgs *args) {
        for (size_t i = 0; i < args->n_variables; i++) {
                free(args->variables[i].name);
                unittext_deinit(&args->variables[i].value);
        }
        free(args->variables);
        args->variables = NULL;
        args->n_variables = 0;
}

int unitargs_new(UnitArgs **ret) {
        *ret = calloc(1, sizeof(**ret));
        return *ret ? 0 : -ENOMEM;
}

UnitArgs *unitargs_free(UnitArgs *args) {
        if (!args)
                return NULL;
        reset_command(args);
        reset_files(args);
        reset_variables(args);
        words_free(args->words, args->n_words);
        for (size_t i = 0; i < args->n_problems; i++)
                unittext_deinit(&args->problems[i].text);
        free(args->problems);
        free(args);
        return NULL;
}

/* Makes room for one item more in the array @p of @n; NULL if there are too many or no memory, with the errno in
 * @ret_error. */
static void *grow(void *p, size_t n, size_t size, int *ret_error) {
        void *bigger;

        if (n >= UNITARGS_ITEMS_MAX) {
                *ret_error = -E2BIG;
                return NULL;
        }
        bigger = reallocarray(p, n + 1, size);
        if (!bigger)
                *ret_error = -ENOMEM;
        return bigger;
}

/* Takes @text's content. */
static int add_word(UnitWord **words, size_t *n, UnitText *text, unsigned source) {
        int r = 0;
        UnitWord *bigger = grow(*words, *n, sizeof(**words), &r);

        if (!bigger)
                return r;
        *words = bigger;
        bigger[(*n)++] = (UnitWord){ .text = *text, .source = source };
        *text = (UnitText) UNITTEXT_NULL;
        return 0;
}

static int add_problem(UnitArgs *args, const UnitText *text, const char *what, bool any) {
        int r = 0;
        UnitProblem *bigger = grow(args->problems, args->n_problems, sizeof(*args->problems), &r);

        if (!bigger)
                return r;
        args->problems = bigger;
        bigger[args->n_problems++] = (UnitProblem){ .what = what, .any = any };
        return unittext_append(&bigger[args->n_problems - 1].text, text);
}

/* What stands at and after @pos of a file, of which nothing more is read. */
static int add_rest(UnitArgs *args, unsigned file, const char *s, size_t n, size_t pos, const char *what) {
        _cleanup_unittext_ UnitText rest = UNITTEXT_NULL;

        for (; pos < n; pos++)
                if (unittext_push(&rest, (UnitChar){ (uint32_t) pos, (uint16_t) file, s[pos], 0 }) < 0)
                        return -ENOMEM;
        return add_problem(args, &rest, what, false);
}

static bool name_valid(const UnitText *text, size_t n) {
        for (size_t i = 0; i < n; i++) {
                char c = text->p[i].c;

                if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '_' && !(i > 0 && c >= '0' && c <= '9'))
                        return false;
        }
        return n > 0;
}

static char *plain_string(const UnitText *text, size_t from, size_t to) {
        char *s = malloc(to - from + 1);

        if (!s)
                return NULL;
        for (size_t i = from; i < to; i++)
                s[i - from] = text->p[i].c;
        s[to - from] = '\0';
        return s;
}

/* Takes @value's content. The last assignment of a name counts. */
static int set_variable(UnitArgs *args, const UnitText *name, size_t name_n, UnitText *value, bool from_file) {
        _cleanup_free_ char *copy = NULL;
        UnitVariable *bigger;
        int r = 0;

        if (!name_valid(name, name_n))
                return 0;
        copy = plain_string(name, 0, name_n);
        if (!copy)
                return -ENOMEM;
        for (size_t i = 0; i < args->n_variables; i++)
                if (strcmp(args->variables[i].name, copy) == 0) {
                        unittext_deinit(&args->variables[i].value);
                        args->variables[i].value = *value;
                        args->variables[i].from_file = from_file;
                        *value = (UnitText) UNITTEXT_NULL;
                        return 0;
                }
        bigger = grow(args->variables, args->n_variables, sizeof(*args->variables), &r);
        if (!bigger)
                return r;
        args->variables = bigger;
        bigger[args->n_variables++] = (UnitVariable){ TAKE_PTR(copy), *value, from_file };
        *value = (UnitText) UNITTEXT_NULL;
        return 0;
}

/* The part of @line behind the first @skip characters, without blanks at its begin. */
static int rest_of(const UnitText *line, size_t skip, UnitText *ret) {
        while (skip < line->n && (line->p[skip].c == ' ' || line->p[skip].c == '\t'))
                skip++;
        for (size_t i = skip; i < line->n; i++)
                if (unittext_push(ret, line->p[i]) < 0)
                        return -ENOMEM;
        return 0;
}

static int parse_environment(UnitArgs *args, const UnitText *value) {
        size_t pos = 0;

        if (value->n == 0) {
                reset_variables(args);
                return 0;
        }
        for (;;) {
                _cleanup_unittext_ UnitText word = UNITTEXT_NULL, content = UNITTEXT_NULL;
                size_t name_n = 0;
                int r;

                r = unittext_word(value, &pos, UNITWORD_ENVIRONMENT, &word);
                if (r == -EBADMSG)
                        return add_problem(
                                args, value,
                                "systemd does not read this line: a quote does not end, or an escape sequence is wrong",
                                false);
                if (r <= 0)
                        return r;
                unittext_specifiers(&word);
                while (name_n < word.n && word.p[name_n].c != '=')
                        name_n++;
                if (name_n == word.n)
                        continue;
                for (size_t i = name_n + 1; i < word.n; i++)
                        if (unittext_push(&content, word.p[i]) < 0)
                                return -ENOMEM;
                r = set_variable(args, &word, name_n, &content, false);
                if (r < 0)
                        return r;
        }
}

/* Is there @s alone, with a blank or nothing behind it? */
static bool stands_alone(const UnitText *text, size_t pos, const char *s) {
        size_t n = strlen(s);

        if (text->n - pos < n)
                return false;
        for (size_t i = 0; i < n; i++)
                if (text->p[pos + i].c != s[i])
                        return false;
        return pos + n == text->n || text->p[pos + n].c == ' ' || text->p[pos + n].c == '\t';
}

/* Removes what begins with ExecStart= a program's path. */
static void take_prefixes(UnitArgs *args, UnitText *program) {
        size_t skip = 0;

        while (skip < program->n && strchr("-@:+!", program->p[skip].c)) {
                args->literal = args->literal || program->p[skip].c == ':';
                skip++;
        }
        program->n -= skip;
        if (skip > 0)
                memmove(program->p, program->p + skip, program->n * sizeof(*program->p));
}

static int parse_command(UnitArgs *args, const UnitText *value) {
        size_t pos = 0, argv0 = 0;

        if (value->n == 0) {
                reset_command(args);
                return 0;
        }
        if (args->n_command > 0)
                return add_problem(args, value, "the unit has more than one command", false);
        for (size_t i = 0;; i++) {
                _cleanup_unittext_ UnitText word = UNITTEXT_NULL;
                int r;

                if (i > 0 && stands_alone(value, pos, ";"))
                        return add_problem(args, value, "the unit has more than one command", false);
                r = unittext_word(value, &pos, UNITWORD_ARGUMENT, &word);
                if (r == -EBADMSG) {
                        reset_command(args);
                        return add_problem(args, value, "a quote in this line does not end", false);
                }
                if (r <= 0)
                        return r;
                unittext_specifiers(&word);
                if (i == 0) {
                        for (size_t j = 0; j < word.n && strchr("-@:+!", word.p[j].c); j++)
                                argv0 += word.p[j].c == '@';
                        take_prefixes(args, &word);
                }
                /* With @, the second word is the program's name for itself. */
                if (i == 1 && argv0 > 0)
                        continue;
                r = add_word(&args->command, &args->n_command, &word, SOURCE_COMMAND);
                if (r < 0)
                        return r;
        }
}

static int parse_file(UnitArgs *args, UnitText *value) {
        if (value->n == 0) {
                reset_files(args);
                return 0;
        }
        unittext_specifiers(value);
        for (size_t i = 0; i < value->n; i++)
                if ((value->p[i].flags & UNITCHAR_UNKNOWN) || strchr("*?[", value->p[i].c))
                        return add_problem(args, value, "podspan does not know which file systemd reads here", true);
        if (args->n_files == UNITARGS_FILES_MAX)
                return -E2BIG;
        args->files[args->n_files] = plain_string(value, value->p[0].c == '-', value->n);
        if (!args->files[args->n_files])
                return -ENOMEM;
        args->n_files++;
        return 0;
}

int unitargs_add_unit(UnitArgs *args, unsigned file, const char *s, size_t n) {
        bool service = false;
        size_t pos = 0;

        for (;;) {
                _cleanup_unittext_ UnitText line = UNITTEXT_NULL, key = UNITTEXT_NULL, value = UNITTEXT_NULL;
                size_t begin = pos, equals = 0;
                int r;

                r = unittext_line(s, n, file, &pos, &line);
                if (r <= 0)
                        return r;
                if (line.p[0].c == '[') {
                        service = unittext_is(&line, "[Service]");
                        if (line.p[line.n - 1].c != ']')
                                return add_rest(args, file, s, n, begin, "systemd cannot read a section of this unit");
                        continue;
                }
                while (equals < line.n && line.p[equals].c != '=')
                        equals++;
                if (!service || equals == line.n)
                        continue;
                r = rest_of(&line, equals + 1, &value);
                if (r < 0)
                        return r;
                while (equals > 0 && (line.p[equals - 1].c == ' ' || line.p[equals - 1].c == '\t'))
                        equals--;
                for (size_t i = 0; i < equals && r >= 0; i++)
                        r = unittext_push(&key, line.p[i]);
                if (r < 0)
                        return r;
                if (unittext_is(&key, "ExecStart"))
                        r = parse_command(args, &value);
                else if (unittext_is(&key, "Environment"))
                        r = parse_environment(args, &value);
                else if (unittext_is(&key, "EnvironmentFile"))
                        r = parse_file(args, &value);
                if (r < 0)
                        return r;
        }
}

const char *unitargs_environment_file(const UnitArgs *args, size_t i) {
        return i < args->n_files ? args->files[i] : NULL;
}

int unitargs_add_environment(UnitArgs *args, unsigned file, const char *s, size_t n) {
        size_t pos = 0;

        for (;;) {
                _cleanup_unittext_ UnitText name = UNITTEXT_NULL, value = UNITTEXT_NULL;
                int r;

                r = unittext_assignment(s, n, file, &pos, &name, &value);
                if (r == -EBADMSG)
                        return add_rest(args, file, s, n, pos,
                                        "it follows a comment that ends in a backslash, which versions of systemd read "
                                        "differently");
                if (r > 0)
                        r = set_variable(args, &name, name.n, &value, true);
                else if (r == 0)
                        return 0;
                if (r < 0)
                        return r;
        }
}

static const UnitVariable *find_variable(const UnitArgs *args, const UnitText *text, size_t from, size_t to) {
        for (size_t i = 0; i < args->n_variables; i++) {
                const char *name = args->variables[i].name;
                size_t j = 0;

                while (from + j < to && name[j] == text->p[from + j].c)
                        j++;
                if (from + j == to && name[j] == '\0')
                        return &args->variables[i];
        }
        return NULL;
}

static int count_chars(UnitArgs *args, size_t n) {
        args->n_chars += n + 1;
        return args->n_chars > UNITARGS_CHARS_MAX ? -E2BIG : 0;
}

/* A variable that is a word of its own: its words. */
static int add_variable(UnitArgs *args, const UnitVariable *variable) {
        size_t pos = 0;

        for (;;) {
                _cleanup_unittext_ UnitText word = UNITTEXT_NULL;
                int r;

                r = unittext_word(&variable->value, &pos, UNITWORD_CONTENT, &word);
                if (r > 0)
                        r = count_chars(args, word.n);
                else if (r == 0)
                        break;
                if (r >= 0)
                        r = add_word(&args->words, &args->n_words, &word,
                                     (unsigned) (variable - args->variables) + SOURCE_COMMAND + 1);
                if (r < 0)
                        return r;
        }
        if (args->n_words > 0)
                args->words[args->n_words - 1].ends = true;
        return 0;
}

/* ${NAME} within a word stands for the variable as it is, $$ for a dollar. */
static int replace_variables(UnitArgs *args, const UnitText *from, UnitText *ret) {
        for (size_t i = 0; i < from->n; i++) {
                const UnitVariable *variable;
                UnitChar c = from->p[i];
                size_t end = i + 2;

                if (c.c == '$' && i + 1 < from->n && from->p[i + 1].c == '$') {
                        c.flags |= UNITCHAR_ESCAPED;
                        i++;
                } else if (c.c == '$' && i + 1 < from->n && from->p[i + 1].c == '{') {
                        while (end < from->n && from->p[end].c != '}')
                                end++;
                        if (end < from->n) {
                                variable = find_variable(args, from, i + 2, end);
                                i = end;
                                if (!variable)
                                        continue;
                                if (count_chars(args, variable->value.n) < 0)
                                        return -E2BIG;
                                for (size_t j = 0; j < variable->value.n; j++) {
                                        UnitChar inner = variable->value.p[j];

                                        inner.flags |= UNITCHAR_VARIABLE;
                                        if (unittext_push(ret, inner) < 0)
                                                return -ENOMEM;
                                }
                                continue;
                        }
                }
                if (unittext_push(ret, c) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int evaluate_command(UnitArgs *args) {
        for (size_t i = 1; i < args->n_command; i++) {
                const UnitText *text = &args->command[i].text;
                _cleanup_unittext_ UnitText word = UNITTEXT_NULL;
                int r;

                if (!args->literal && text->n > 1 && text->p[0].c == '$' && text->p[1].c != '{' &&
                    text->p[1].c != '$') {
                        const UnitVariable *variable = find_variable(args, text, 1, text->n);

                        r = variable ? add_variable(args, variable) : 0;
                } else {
                        r = args->literal ? unittext_append(&word, text) : replace_variables(args, text, &word);
                        if (r >= 0)
                                r = count_chars(args, word.n);
                        if (r >= 0)
                                r = add_word(&args->words, &args->n_words, &word, SOURCE_COMMAND);
                }
                if (r < 0)
                        return r;
        }
        if (args->n_words > 0)
                args->words[args->n_words - 1].ends = true;
        return 0;
}

bool unitargs_is(const UnitArgs *args, const char *program) {
        const UnitText *text = args->n_command > 0 ? &args->command[0].text : NULL;
        size_t n = strlen(program);

        if (!text || text->n < n)
                return false;
        for (size_t i = 0; i < n; i++)
                if (text->p[text->n - n + i].c != program[i])
                        return false;
        return text->n == n || text->p[text->n - n - 1].c == '/';
}

int unitargs_evaluate(UnitArgs *args, const char *program) {
        int r = 0;

        if (!unitargs_is(args, program))
                for (size_t i = 0; i < args->n_variables && r >= 0; i++)
                        r = add_variable(args, &args->variables[i]);
        args->n_maybe = args->n_words;
        return r < 0 ? r : evaluate_command(args);
}

/* Where @flag stands in @text at or after @pos; @text->n if nowhere. */
static size_t find_flag(const UnitText *text, const char *flag, size_t pos) {
        size_t n = strlen(flag);

        for (; pos + n <= text->n; pos++) {
                size_t j = 0;

                while (j < n && text->p[pos + j].c == flag[j])
                        j++;
                if (j == n && (pos + n == text->n || strchr("= \t\"'\\", text->p[pos + n].c)))
                        return pos;
        }
        return text->n;
}

static int describe(const UnitText *text, size_t from, UnitFlag *ret) {
        bool straight = from < text->n;
        UnitFlag flag = { .known = true };

        for (size_t i = from; i < text->n; i++) {
                const UnitChar *c = &text->p[i];

                if (c->flags & UNITCHAR_UNKNOWN)
                        flag.known = false;
                if (c->flags & (UNITCHAR_UNKNOWN | UNITCHAR_VARIABLE))
                        flag.refusal = "its value comes from a variable or a specifier";
                if (c->flags != 0 || c->file != text->p[from].file || c->at != text->p[from].at + (i - from))
                        straight = false;
        }
        if (!straight && !flag.refusal)
                flag.refusal = "its value is empty or has quotes, escapes or a continued line in it";
        if (text->n > 0) {
                const UnitChar *first = &text->p[from < text->n ? from : text->n - 1];

                flag.file = first->file;
                flag.from = first->at;
                flag.to = straight ? flag.from + (text->n - from) : flag.from;
        }
        flag.value = plain_string(text, MIN(from, text->n), text->n);
        if (!flag.value)
                return -ENOMEM;
        *ret = flag;
        return 1;
}

static int refuse(const UnitText *text, size_t at, const char *why, UnitFlag *ret) {
        char *value = strdup("");

        if (!value)
                return -ENOMEM;
        *ret = (UnitFlag){
                .file = text->p[at].file, .from = text->p[at].at, .to = text->p[at].at, .value = value, .refusal = why
        };
        return 1;
}

static int next_flag(const UnitArgs *args, const char *flag, size_t *pos, UnitFlag *ret) {
        size_t n = strlen(flag);

        for (; *pos < args->n_words; (*pos)++) {
                const UnitWord *word = &args->words[*pos], *next = word + 1;
                size_t at = find_flag(&word->text, flag, 0);

                if (at == word->text.n)
                        continue;
                (*pos)++;
                if (at > 0)
                        return refuse(&word->text, at, "it stands within another argument", ret);
                if (word->text.n > n && word->text.p[n].c == '=')
                        return describe(&word->text, n + 1, ret);
                if (word->text.n > n)
                        return refuse(&word->text, at, "it stands within another argument", ret);
                if (*pos == args->n_words)
                        return 0;
                /* The flag takes the next argument, whatever it is. */
                (*pos)++;
                if (word->ends || next->source != word->source)
                        return refuse(&word->text, at, "its value stands in another variable", ret);
                return describe(&next->text, 0, ret);
        }
        for (; *pos < args->n_words + args->n_problems; (*pos)++) {
                const UnitProblem *problem = &args->problems[*pos - args->n_words];
                size_t at = problem->any ? 0 : find_flag(&problem->text, flag, 0);

                if (at == problem->text.n)
                        continue;
                (*pos)++;
                return refuse(&problem->text, at, problem->what, ret);
        }
        return 0;
}

int unitargs_next(const UnitArgs *args, const char *flag, size_t *pos, UnitFlag *ret) {
        int r;

        r = next_flag(args, flag, pos, ret);
        if (r > 0)
                ret->maybe = *pos <= args->n_maybe;
        return r;
}
