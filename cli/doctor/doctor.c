#include <stdarg.h>
#include <string.h>
#include "doctor.h"
#include "nodefile.h"

void doctor_deinit(Doctor *doctor) {
        for (size_t i = 0; i < doctor->n_findings; i++) {
                free(doctor->findings[i].text);
                free(doctor->findings[i].evidence);
                free(doctor->findings[i].fix);
        }
        kube_deinit(&doctor->kube);
        free(doctor->runtime_path);
        if (doctor->config_known)
                config_deinit(&doctor->config);
        close_fd(doctor->root_fd);
}

void doctor_add(Doctor *doctor, const char *id, DoctorSeverity severity, const char *evidence, const char *fix,
                const char *format, ...) {
        DoctorFinding *finding = &doctor->findings[doctor->n_findings];
        va_list args;
        int r;

        if (doctor->n_findings == DOCTOR_FINDINGS_MAX)
                return;
        *finding = (DoctorFinding){
                .id = id,
                .severity = severity,
                .evidence = evidence ? strdup(evidence) : NULL,
                .fix = fix && severity != DOCTOR_OK ? strdup(fix) : NULL,
        };
        va_start(args, format);
        r = vasprintf(&finding->text, format, args);
        va_end(args);
        if (r < 0) {
                finding->text = NULL;
                doctor->no_memory = true;
        }
        doctor->n_findings++;
}

DoctorSeverity doctor_worst(const Doctor *doctor) {
        DoctorSeverity worst = DOCTOR_OK;

        for (size_t i = 0; i < doctor->n_findings; i++)
                worst = MAX(worst, doctor->findings[i].severity);
        return worst;
}

int doctor_run(Doctor *doctor) {
        int r;

        doctor->root_fd = nodefile_root(doctor->root);
        if (doctor->root_fd < 0)
                return doctor->root_fd;
        r = kube_find(doctor->root_fd, &doctor->kube);
        if (r < 0)
                doctor_add(doctor, "kubelet.files", DOCTOR_ERROR, strerror(-r), "run as root",
                           "kubelet's configuration cannot be read");
        doctor_self(doctor);
        doctor_kubelet(doctor);
        doctor_cri(doctor);
        doctor_runtimes(doctor);
        doctor_hooks(doctor);
        return doctor->no_memory ? -ENOMEM : 0;
}
