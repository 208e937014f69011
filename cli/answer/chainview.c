#include <stdio.h>
#include <string.h>
#include "chainview.h"
#include "text.h"

#define LINE_MAX_N 2048

static const char *const peers[] = {
        [WAIT_PEER_NONE] = NULL,       [WAIT_PEER_UNKNOWN] = "unknown", [WAIT_PEER_NOBODY] = "nobody",
        [WAIT_PEER_FOUND] = "process", [WAIT_PEER_KERNEL] = "kernel",   [WAIT_PEER_GONE] = "ended",
};

static void json_state(Json *json, const char *key, char state) {
        json_key(json, key);
        if (state)
                json_strn(json, &state, 1);
        else
                json_null(json);
}

static void json_peer(Json *json, const Wait *wait) {
        if (!peers[wait->peer])
                return;
        json_key(json, "other_end");
        json_map(json);
        json_pair_str(json, "is", peers[wait->peer]);
        if (wait->peer == WAIT_PEER_FOUND) {
                json_pair_str(json, "program", wait->peer_name);
                json_state(json, "state", wait->peer_state);
                json_pair_bool(json, "frozen", wait->peer_frozen);
                json_pair_u64(json, "processes", wait->n_peers);
        }
        if (wait->peer_pid > 0)
                json_pair_u64(json, "pid", (uint64_t) wait->peer_pid);
        json_map_end(json);
}

static void json_wait(Json *json, const Wait *wait) {
        char words[WAIT_TEXT_MAX];

        wait_words(wait, words);
        json_key(json, "wait");
        json_map(json);
        json_pair_str(json, "kind", waitkind_name(wait->kind));
        json_pair_str(json, "text", words);
        json_pair_known(json, "path", wait->path);
        json_pair_known(json, "address", wait->address);
        json_pair_known(json, "mount", wait->mount);
        json_pair_known(json, "mount_type", wait->mount_type);
        json_pair_known(json, "cgroup", wait->cgroup);
        if (wait->inode != 0)
                json_pair_u64(json, "inode", wait->inode);
        if (wait->kind == WAIT_UNIX) {
                json_pair_bool(json, "accepted", !wait->not_accepted && !wait->queue_full);
                json_pair_bool(json, "queue_full", wait->queue_full);
                json_pair_u64(json, "unread", wait->n_unread);
        }
        json_peer(json, wait);
        json_pair_known(json, "syscall", wait->syscall);
        json_pair_known(json, "wchan", strcmp(wait->wchan, "0") == 0 ? "" : wait->wchan);
        json_map_end(json);
}

void chainview_json_link(Json *json, const Chains *chains, const ChainLink *link) {
        json_map(json);
        json_pair_str(json, "program", procscan_name(link->proc));
        json_pair_u64(json, "pid", (uint64_t) link->proc->stat.pid);
        json_pair_str(json, "role", chain_role(link->proc));
        json_pair_u64(json, "age_ns", procscan_age_ns(&chains->procs, link->proc));
        json_state(json, "state", link->wait.state ? link->wait.state : link->proc->stat.state);
        json_pair_bool(json, "peer", link->is_peer);
        json_wait(json, &link->wait);
        json_map_end(json);
}

void chainview_json_chain(Json *json, const Chains *chains, const Chain *chain) {
        const ChainLink *leaf = chain_leaf(chain);
        char words[CHAIN_TEXT_MAX];

        json_key(json, "chain");
        json_array(json);
        for (size_t i = 0; i < chain->n; i++)
                chainview_json_link(json, chains, &chain->links[i]);
        json_array_end(json);
        json_key(json, "leaf");
        if (leaf)
                chainview_json_link(json, chains, leaf);
        else
                json_null(json);
        chain_words(chain, words);
        json_pair_str(json, "text", words);
}

void chainview_json_rest(Json *json, const Chains *chains) {
        json_key(json, "stuck");
        json_array(json);
        for (size_t i = 0; i < chains->n_stuck; i++) {
                const ChainStuck *stuck = &chains->stuck[i];
                const ChainLink link = { .proc = stuck->proc, .wait = stuck->wait };

                json_map(json);
                json_pair_known(json, "pod_uid", stuck->owner ? stuck->owner->identity.pod_uid : "");
                json_pair_known(json, "pod_name", stuck->owner ? stuck->owner->identity.pod_name : "");
                json_pair_known(json, "pod_namespace", stuck->owner ? stuck->owner->identity.pod_namespace : "");
                json_pair_u64(json, "parent_pid", (uint64_t) stuck->proc->stat.ppid);
                json_key(json, "process");
                chainview_json_link(json, chains, &link);
                json_map_end(json);
        }
        json_array_end(json);
        json_pair_bool(json, "incomplete",
                       chains->procs.more || chains->procs.incomplete || chains->look.objects.scan.incomplete);
}

void chainview_wrap(const Screen *screen, const char *first, const char *text, ScreenStyle style) {
        char safe[LINE_MAX_N], line[LINE_MAX_N];
        size_t indent = text_width(first), room;
        const char *at = safe;

        text_safe(safe, sizeof(safe), text, strlen(text), screen->utf8);
        room = screen->width > indent + 20 ? screen->width - indent : screen->width > 0 ? 20 : SIZE_MAX;
        for (bool begun = false; *at || !begun; begun = true) {
                size_t n = 0, last = 0;

                /* As many words as fit; of a longer word what fits. */
                while (at[n] && n < sizeof(line) - 1) {
                        memcpy(line, at, n + 1);
                        line[n + 1] = '\0';
                        if (text_width(line) > room)
                                break;
                        n++;
                        if (at[n] == ' ' || at[n] == '\0')
                                last = n;
                }
                if (last == 0)
                        last = n > 0 ? n : strlen(at);
                memcpy(line, at, last);
                line[last] = '\0';
                printf("%s%*s%s%s%s\n", begun ? "" : first, begun ? (int) indent : 0, "", screen_style(screen, style),
                       line, screen_style(screen, SCREEN_PLAIN));
                at += last;
                while (*at == ' ')
                        at++;
        }
}

void chainview_pod(const Identity *identity, char *ret, size_t size) {
        if (*identity->pod_name)
                (void) snprintf(ret, size, "%s%s%s", identity->pod_namespace, *identity->pod_namespace ? "/" : "",
                                identity->pod_name);
        else
                (void) snprintf(ret, size, "%s", *identity->pod_uid ? identity->pod_uid : "-");
}

void chainview_program(const Proc *proc, char *ret, size_t size) {
        const char *role = chain_role(proc);

        (void) snprintf(ret, size, "%s%s%s (pid %d)", role, *role ? " " : "", procscan_name(proc),
                        (int) proc->stat.pid);
}

void chainview_stuck(const Screen *screen, const Chains *chains) {
        char text[WAIT_TEXT_MAX + 800], words[WAIT_TEXT_MAX], program[160], pod[600];

        if (chains->n_stuck == 0)
                return;
        printf("\n%sIn state D, or dead and not collected, below a pod's cgroup:%s\n",
               screen_style(screen, SCREEN_BOLD), screen_style(screen, SCREEN_PLAIN));
        for (size_t i = 0; i < chains->n_stuck; i++) {
                const ChainStuck *stuck = &chains->stuck[i];

                chainview_program(stuck->proc, program, sizeof(program));
                if (stuck->owner)
                        chainview_pod(&stuck->owner->identity, pod, sizeof(pod));
                else
                        (void) strcpy(pod, "-");
                if (stuck->proc->stat.state == 'Z')
                        (void) snprintf(text, sizeof(text),
                                        "%s: %s has ended; its parent, pid %d, has not collected it", pod, program,
                                        (int) stuck->proc->stat.ppid);
                else {
                        wait_words(&stuck->wait, words);
                        (void) snprintf(text, sizeof(text), "%s: %s %s", pod, program, words);
                }
                chainview_wrap(screen, "  ", text, SCREEN_PLAIN);
        }
        if (chains->n_stuck_all > chains->n_stuck)
                printf("  and %zu more\n", chains->n_stuck_all - chains->n_stuck);
}
