# bash completion for podspan(1)

_podspan() {
        local cur prev words cword command="" i
        _init_completion || return

        local common="--config --state-dir --store-dir --json --ascii --color --help --version"

        for ((i = 1; i < cword; i++)); do
                case ${words[i]} in
                --config | --state-dir | --store-dir | --color) ((i++)) ;;
                -*) ;;
                *)
                        command=${words[i]}
                        break
                        ;;
                esac
        done

        case $prev in
        --config | --runtime-endpoint | --program | --ctr | --socket)
                _filedir
                return
                ;;
        --state-dir | --store-dir | --root | --data-dir | --libexec-dir)
                _filedir -d
                return
                ;;
        --verdict)
                COMPREPLY=($(compgen -W "completed exited stopped stop-timeout probe-killed oom oom-container oom-pod
                        oom-node crashed killed start-failed lost unknown" -- "$cur"))
                return
                ;;
        --color)
                COMPREPLY=($(compgen -W "auto always never" -- "$cur"))
                return
                ;;
        --since | --until)
                COMPREPLY=($(compgen -W "15m 1h 24h now today yesterday" -- "$cur"))
                return
                ;;
        --pod | --container | --namespace | --service | --name | --slower-than | --limit | -n | --image | \
                --runtime-handler | --timeout)
                return
                ;;
        esac

        case $command in
        "") COMPREPLY=($(compgen -W "traces trace exits why inflight status config probe doctor install uninstall bypass $common" -- "$cur")) ;;
        traces)
                COMPREPLY=($(compgen -W "--since --until --pod --container --namespace --service --name --errors
                        --slower-than --limit $common" -- "$cur"))
                ;;
        exits)
                COMPREPLY=($(compgen -W "--since --until --pod --container --verdict --limit $common" -- "$cur"))
                ;;
        why)
                COMPREPLY=($(compgen -W "--end --now --start --journal --no-journal --log --no-log --log-dir
                        $common" -- "$cur"))
                ;;
        inflight) COMPREPLY=($(compgen -W "--all --no-leaf --watch $common" -- "$cur")) ;;
        probe)
                COMPREPLY=($(compgen -W "--runtime-endpoint --image --no-container --pull --runtime-handler
                        --host-network --timeout --keep $common" -- "$cur"))
                ;;
        doctor) COMPREPLY=($(compgen -W "--root --kubelet-version --containerd-version $common" -- "$cur")) ;;
        install)
                COMPREPLY=($(compgen -W "kubelet crio containerd hooks --dry-run --yes --root --program --ctr --runtime
                        --data-dir --libexec-dir $common" -- "$cur"))
                ;;
        uninstall) COMPREPLY=($(compgen -W "kubelet crio containerd hooks --all --dry-run --yes --root $common" -- "$cur")) ;;
        bypass) COMPREPLY=($(compgen -W "on off status --now --force --socket --runtime --root $common" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -W "$common" -- "$cur")) ;;
        esac
} && complete -F _podspan podspan
